use proptest::prelude::*;

use super::*;

/// Where test kernels begin.
pub(crate) const BASE: u64 = 16 << 20;
const ROOM: u64 = 64 << 20;

/// An ELF executable of one segment at [`BASE`], whose entries are both its first instruction.
pub(crate) fn elf(code: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1]);
    file.resize(16, 0);
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [BASE, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let (note, note_at) = (20_u64, 64 + 2 * 56);
    let code_at = note_at + note;
    let len = code.len() as u64;
    // Kind, flags; offset, virtual and physical address, bytes in the file and in memory, alignment.
    for (kind, words) in [
        (1_u32, [code_at, 0, BASE, len, len + 4096, 4096]),
        (4, [note_at, 0, 0, note, note, 4]),
    ] {
        file.extend(kind.to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        words
            .iter()
            .for_each(|word| file.extend(word.to_le_bytes()));
    }
    let base = u32::try_from(BASE).expect("below 4 GiB");
    for word in [4_u32, 4, 18, u32::from_le_bytes(*b"Xen\0"), base] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// A bzImage around `payload`.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[0x1f1] = 1;
    file[0x201] = 0x6a;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    file[0x236] = 1;
    file[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
    let length = u32::try_from(payload.len()).expect("small");
    file[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
    file[0x258..0x260].copy_from_slice(&BASE.to_le_bytes());
    file[0x260..0x264].copy_from_slice(&(8_u32 << 20).to_le_bytes());
    file.extend(payload);
    file
}

fn sized(mut data: Vec<u8>, len: usize) -> Vec<u8> {
    data.extend(u32::try_from(len).expect("small").to_le_bytes());
    data
}

fn code() -> Vec<u8> {
    (0..300_000_u32)
        .flat_map(|at| (at / 7).to_le_bytes())
        .collect()
}

fn parse(file: Vec<u8>) -> Result<Image, ImageError> {
    Image::parse(file, KernelEntry::Linux64, ROOM)
}

/// The blocks that the kernel's build makes.
fn lz4(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x02, 0x21, 0x4c, 0x18];
    for block in data.chunks(1 << 19) {
        let block = lz4_flex::block::compress(block);
        out.extend(u32::try_from(block.len()).expect("small").to_le_bytes());
        out.extend(block);
    }
    out
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; data.len() + 1024];
    let config = zlib_rs::DeflateConfig {
        window_bits: 31,
        ..zlib_rs::DeflateConfig::default()
    };
    let (written, code) = zlib_rs::compress_slice(&mut out, data, config);
    assert_eq!(code, zlib_rs::ReturnCode::Ok);
    written.to_vec()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn a_kernel_is_the_same_in_whatever_it_is_packed() {
    let plain = elf(&code());
    let want = parse(plain.clone()).expect("a kernel");
    assert_eq!((want.entry, want.segments.len()), (BASE, 1));
    assert_eq!(want.data(&want.segments[0]), code());
    assert_eq!(want.end, BASE + code().len() as u64 + 4096);
    let len = plain.len();
    for (name, payload) in [
        ("none", plain.clone()),
        ("lz4", sized(lz4(&plain), len)),
        ("gzip", gzip(&plain)),
        ("zstd", sized(zstd(&plain), len)),
    ] {
        let found = parse(bzimage(&payload)).expect(name);
        assert!(
            found.file == want.file && found.segments == want.segments,
            "{name}"
        );
        assert_eq!((found.entry, found.end), (BASE, BASE + (8 << 20)), "{name}");
        let header = found.header.expect("a bzImage has one");
        assert_eq!(
            (header.cmdline_size, header.bytes.len()),
            (2047, 0x202 + 0x6a - 0x1f1)
        );
    }
}

#[test]
fn both_entries_are_found() {
    let pvh = Image::parse(elf(&[0x90]), KernelEntry::Pvh, ROOM).expect("a kernel");
    assert_eq!(pvh.entry, BASE);
    let mut file = elf(&[0x90]);
    let xen = file
        .windows(4)
        .position(|window| window == b"Xen\0")
        .expect("a note");
    file[xen] = b'Y';
    let error = Image::parse(file, KernelEntry::Pvh, ROOM).expect_err("no note");
    assert_eq!(
        error.to_string(),
        "the kernel has no Pvh entry: take the other one"
    );
}

#[track_caller]
fn refused(file: Vec<u8>, says: &str) {
    let text = parse(file).expect_err(says).to_string();
    assert!(text.contains(says), "{text}");
}

/// `file` with `bytes` at `offset`.
fn patched(mut file: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn what_cannot_be_booted_is_refused_with_what_to_do() {
    refused(Vec::new(), "name a distribution's vmlinuz");
    refused(b"#!/bin/sh\n".to_vec(), "name a distribution's vmlinuz");
    let whole = elf(&[0x90; 100]);
    refused(
        patched(whole.clone(), 18, &[40]),
        "name a distribution's vmlinuz",
    );
    refused(whole[..60].to_vec(), "ends within its program headers");
    refused(whole[..whole.len() - 1].to_vec(), "ends within a segment");
    // The physical address of the segment.
    let addr = 64 + 24;
    refused(
        patched(whole.clone(), addr, &0x7000_u64.to_le_bytes()),
        "below 1 MiB",
    );
    refused(
        patched(whole.clone(), addr, &u64::MAX.to_le_bytes()),
        "give it more memory",
    );
    refused(
        patched(whole.clone(), addr, &ROOM.to_le_bytes()),
        "give it more memory",
    );
    refused(
        patched(whole.clone(), 64 + 40, &[99, 0]),
        "longer in the file",
    );
    refused(patched(whole.clone(), 24, &[0xff; 8]), "no Linux64 entry");
    refused(
        bzimage(&[0xfd, b'7', b'z', b'X', b'Z', 0]),
        "compressed by xz",
    );
    refused(
        bzimage(&sized(zstd(&whole), whole.len() + 1)),
        "does not decompress",
    );
    refused(
        bzimage(&sized(zstd(&whole), whole.len() - 1)),
        "does not decompress",
    );
    refused(
        bzimage(&sized(lz4(&whole), whole.len() + 1)),
        "does not decompress",
    );
    refused(
        bzimage(&sized(zstd(&whole), 1 << 30)),
        "give it more memory",
    );
    refused(
        patched(bzimage(&whole), 0x206, &[0x0b, 0x02]),
        "boot protocol 2.11",
    );
    refused(
        patched(bzimage(&whole), 0x24c, &[0xff; 4]),
        "ends within the compressed kernel",
    );
    refused(
        patched(bzimage(&whole), 0x260, &[0xff; 4]),
        "give it more memory",
    );
    refused(bzimage(&whole)[..0x240].to_vec(), "ends within its header");
}

proptest! {
    /// Whatever a file says, an image that comes of it lies inside of the file and of the guest.
    #[test]
    fn no_file_makes_an_image_that_leaves_its_bounds(
        packing in 0..4_usize,
        changes in prop::collection::vec((0_usize..1400, any::<u8>()), 0..8),
        cut in prop::option::of(0_usize..1400),
        wants_pvh in any::<bool>(),
    ) {
        let plain = elf(&[0x90; 64]);
        let mut file = match packing {
            0 => plain,
            1 => bzimage(&plain),
            2 => bzimage(&sized(lz4(&plain), plain.len())),
            _ => bzimage(&sized(zstd(&plain), plain.len())),
        };
        for (at, value) in changes {
            let at = at % file.len();
            file[at] = value;
        }
        file.truncate(cut.unwrap_or(usize::MAX));
        let entry = if wants_pvh { KernelEntry::Pvh } else { KernelEntry::Linux64 };
        if let Ok(image) = Image::parse(file, entry, ROOM) {
            prop_assert!(image.end <= ROOM);
            for segment in &image.segments {
                prop_assert!(segment.addr >= 1 << 20);
                prop_assert!(segment.addr + segment.mem_bytes <= image.end);
                prop_assert!(image.data(segment).len() as u64 <= segment.mem_bytes);
            }
            prop_assert!(image.segments.iter().any(|segment| segment.has(image.entry)));
        }
    }

    #[test]
    fn no_bytes_at_all_panic(file in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = parse(file);
    }
}
