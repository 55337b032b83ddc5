//! The examples, as a program runs them.

#[expect(dead_code, reason = "their main reads the command line")]
#[path = "../../../examples/ublk_crypt.rs"]
mod ublk_crypt;
#[expect(dead_code, reason = "their main reads the command line")]
#[path = "../../../examples/ublk_ram.rs"]
mod ublk_ram;

use std::os::unix::fs::FileExt;

use super::Direct;
use crate::in_lab;

#[test]
fn the_example_of_a_ram_disk_is_one() {
    if !in_lab("the_example_of_a_ram_disk_is_one") {
        return;
    }
    let disk = ublk_ram::serve(8).expect("a disk");
    let direct = Direct::open(&disk.path());
    direct.write(2047, 7).expect("written");
    direct.expect(2047, 7);
    drop(direct);
    disk.delete().expect("deleted");
}

#[test]
fn the_example_of_an_encrypted_disk_leaves_no_text_in_its_file() {
    if !in_lab("the_example_of_an_encrypted_disk_leaves_no_text_in_its_file") {
        return;
    }
    let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    image.as_file().set_len(1 << 20).expect("its length");
    let key: [u8; 64] = std::array::from_fn(|index| index.to_le_bytes()[0]);
    let disk = ublk_crypt::serve(image.path(), &key).expect("a disk");
    let direct = Direct::open(&disk.path());
    direct.write(3, 7).expect("written");
    direct.write(4, 7).expect("written");
    direct.expect(3, 7);
    drop(direct);
    disk.delete().expect("deleted");
    let mut bytes = [0; 8192];
    let file = image.as_file();
    file.read_exact_at(&mut bytes, 3 * 4096).expect("read");
    assert!(bytes.windows(4).all(|window| window != [7; 4]));
    assert_ne!(bytes[..4096], bytes[4096..], "the same text elsewhere");
    // With the key it is there again, and with another one it is not.
    for (byte, is_there) in [(0, true), (1, false)] {
        let mut key = key;
        key[0] = byte;
        let disk = ublk_crypt::serve(image.path(), &key).expect("a disk");
        let found = Direct::open(&disk.path()).read(4).expect("read");
        assert_eq!(found.iter().all(|found| *found == 7), is_there);
        disk.delete().expect("deleted");
    }
}
