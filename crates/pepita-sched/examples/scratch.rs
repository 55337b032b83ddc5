use pepita_sched::executor::*; use pepita_sched::task::*; use std::sync::Arc; use std::time::*;
fn main(){
 let n=4000;
 let mode=std::env::args().nth(1).unwrap_or_default();
 let level = match mode.as_str() {"group"=>Some(TreeKill::ProcessGroup),"sub"=>Some(TreeKill::Subreaper),_=>None};
 let mut b=CpuExecutor::builder().slots(2); if let Some(l)=level {b=b.tree_kill(l)}
 let ex=Arc::new(b.build().unwrap());
 let big: Vec<u8> = if std::env::var("BIG").is_ok() { vec![1u8; 4<<30] } else {vec![]};
 let t=Instant::now();
 let ts:Vec<_>=(0..2).map(|w|{let ex=ex.clone(); let mode=mode.clone(); std::thread::spawn(move||{
   for _ in 0..n/2 { 
     if mode=="std" { let o=std::process::Command::new("/bin/true").stdin(std::process::Stdio::null()).output().unwrap(); assert!(o.status.success()); continue }
     let task=Task::binary("/bin/true").build().unwrap();
     let r=ex.execute(&task,&TaskContext::new(CancelToken::new(),None,1,w)).unwrap(); assert!(r.is_success(),"{r:?}"); }
 })}).collect();
 for t in ts {t.join().unwrap();}
 println!("{mode} {:?}: {:.0}/s", ex.tree_kill(), n as f64/t.elapsed().as_secs_f64());
 if mode=="show" { let task=Task::binary("sh").args(["-c","echo hi; echo err>&2; ls -l /proc/self/fd; cat; exit 3"]).stdin("abc\n").build().unwrap();
     println!("{:?}", ex.execute(&task,&TaskContext::new(CancelToken::new(),None,1,0)).map(|r|(r.stdout_string(),r.stderr_string(),r.exit,r.usage,r.wall))); }
 drop(big);
}
