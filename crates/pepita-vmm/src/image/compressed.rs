//! The compressed kernel of a bzImage, undone on the host: no guest runs a decompressor.

use lz4_flex::block::decompress_into;
use ruzstd::decoding::FrameDecoder;
use zlib_rs::{InflateConfig, ReturnCode, decompress_slice};

use super::ImageError;
use super::bytes::u32_at;

/// First bytes of what the kernel's build may compress with. Source: lib/decompress.c, v6.12.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP: &[u8] = &[0x1f, 0x8b];
const LZ4: &[u8] = &[0x02, 0x21, 0x4c, 0x18];
const OTHERS: [(&[u8], &str); 4] = [
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
    (b"BZh", "bzip2"),
    (&[0x5d, 0x00], "lzma"),
    (&[0x89, b'L', b'Z', b'O'], "lzo"),
];

/// The most bytes that one block of LZ4 comes to: lib/decompress_unlz4.c, v6.12.
const LZ4_BLOCK: usize = 8 << 20;

/// `window_bits` of zlib for a gzip wrapper and a window of 32 KiB.
const GZIP_WINDOW: i32 = 16 + 15;

const DAMAGED: ImageError = ImageError::Damaged {
    what: "the compressed kernel does not decompress",
};

/// The kernel, of at most `room` bytes. The last four of `payload` are how long it is.
pub(super) fn unpack(payload: &[u8], room: u64) -> Result<Vec<u8>, ImageError> {
    if payload.starts_with(&elf_magic()) {
        return Ok(payload.to_vec());
    }
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| payload.starts_with(magic)) {
        return Err(ImageError::Compression { name });
    }
    let size_at = payload.len().checked_sub(4).ok_or(DAMAGED)?;
    let bytes = u32_at(payload, size_at).ok_or(DAMAGED)?;
    if u64::from(bytes) > room {
        let bytes = bytes.into();
        return Err(ImageError::Room { bytes, room });
    }
    let data = &payload[..size_at];
    let mut kernel = vec![0; usize::try_from(bytes).map_err(|_| DAMAGED)?];
    let written = if data.starts_with(ZSTD) {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(room);
        decoder.decode_all(data, &mut kernel).ok()
    } else if data.starts_with(GZIP) {
        // The length is gzip's own trailer.
        let config = InflateConfig {
            window_bits: GZIP_WINDOW,
        };
        let (written, code) = decompress_slice(&mut kernel, payload, config);
        (code == ReturnCode::Ok).then_some(written.len())
    } else if data.starts_with(LZ4) {
        unpack_lz4(&data[LZ4.len()..], &mut kernel)
    } else {
        return Err(ImageError::Unknown);
    };
    if written == Some(kernel.len()) {
        Ok(kernel)
    } else {
        Err(DAMAGED)
    }
}

/// Blocks, each behind its length. Bytes written.
fn unpack_lz4(mut data: &[u8], kernel: &mut [u8]) -> Option<usize> {
    let mut written = 0;
    while written < kernel.len() {
        let length = usize::try_from(u32_at(data, 0)?).ok()?;
        let block = data.get(4..)?.get(..length)?;
        let room = (kernel.len() - written).min(LZ4_BLOCK);
        let step = decompress_into(block, &mut kernel[written..written + room]).ok()?;
        if step == 0 {
            return None;
        }
        written += step;
        data = &data[4 + length..];
    }
    Some(written)
}

const fn elf_magic() -> [u8; 4] {
    [0x7f, b'E', b'L', b'F']
}
