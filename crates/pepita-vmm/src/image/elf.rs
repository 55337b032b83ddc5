//! ELF executables for x86-64. Source: the System V ABI, "Object Files" and "Program Loading".

use std::ops::Range;

use super::ImageError;
use super::bytes::{array, range, u16_at, u32_at, u64_at};

/// The end of the addresses of memory that all guests have in one piece with address 0.
const LOW_END: u64 = 1 << 20;

const IDENT: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
const EM_X86_64: u16 = 62;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Bytes of a program header.
const PHDR: usize = 56;

/// The note that names the PVH entry: xen/include/public/elfnote.h.
const XEN_NAME: &[u8] = b"Xen\0";
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

/// Bytes of the file, and where they belong; zeroes behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(super) file: Range<usize>,
    /// The guest's address.
    pub(crate) addr: u64,
    /// Bytes with the zeroes.
    pub(super) mem_bytes: u64,
}

impl Segment {
    pub(super) fn has(&self, addr: u64) -> bool {
        addr.checked_sub(self.addr)
            .is_some_and(|offset| offset < self.mem_bytes)
    }
}

/// What matters of an ELF file. Segments lie between 1 MiB and the end of the room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Elf {
    pub(super) segments: Vec<Segment>,
    pub(super) entry: u64,
    pub(super) pvh_entry: Option<u64>,
}

const fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { what }
}

/// Takes `file` apart, for a guest with `room` bytes from address 0 on.
pub(super) fn parse(file: &[u8], room: u64) -> Result<Elf, ImageError> {
    let cut = || damaged("it ends within its ELF header");
    let kind = u16_at(file, 16);
    let is_ours = array(file, 0) == Some(IDENT)
        && u16_at(file, 18) == Some(EM_X86_64)
        && matches!(kind, Some(ET_EXEC | ET_DYN));
    if !is_ours {
        return Err(ImageError::Unknown);
    }
    let entry = u64_at(file, 24).ok_or_else(cut)?;
    let table = u64_at(file, 32).ok_or_else(cut)?;
    let size = u16_at(file, 54).ok_or_else(cut)?;
    let count = u16_at(file, 56).ok_or_else(cut)?;
    if usize::from(size) != PHDR {
        return Err(damaged("its program headers have another size"));
    }
    let table = range(file, table, u64::from(count) * PHDR as u64);
    let table = table.ok_or(damaged("it ends within its program headers"))?;
    let mut elf = Elf {
        segments: Vec::new(),
        entry,
        pvh_entry: None,
    };
    for header in file[table].chunks_exact(PHDR) {
        match u32_at(header, 0) {
            Some(PT_LOAD) => elf.segments.extend(segment(file, header, room)?),
            Some(PT_NOTE) => {
                let notes = in_file(file, header)?;
                elf.pvh_entry = elf.pvh_entry.or(pvh_entry(&file[notes]));
            }
            _ => {}
        }
    }
    Ok(elf)
}

/// The part of the file that a program header means.
fn in_file(file: &[u8], header: &[u8]) -> Result<Range<usize>, ImageError> {
    let offset = u64_at(header, 8).zip(u64_at(header, 32));
    let found = offset.and_then(|(offset, len)| range(file, offset, len));
    found.ok_or(damaged("it ends within a segment"))
}

/// The segment of a program header, unless it is empty.
fn segment(file: &[u8], header: &[u8], room: u64) -> Result<Option<Segment>, ImageError> {
    let wanted = u64_at(header, 24).zip(u64_at(header, 40));
    let (addr, mem_bytes) = wanted.ok_or(damaged("it ends within a program header"))?;
    let file = in_file(file, header)?;
    if mem_bytes == 0 {
        return Ok(None);
    }
    if file.len() as u64 > mem_bytes {
        return Err(damaged("a segment is longer in the file than in memory"));
    }
    if addr < LOW_END {
        return Err(ImageError::Low { addr });
    }
    let bytes = addr.saturating_add(mem_bytes);
    if bytes > room {
        return Err(ImageError::Room { bytes, room });
    }
    Ok(Some(Segment {
        file,
        addr,
        mem_bytes,
    }))
}

/// The PVH entry, if one of the notes names it.
fn pvh_entry(mut notes: &[u8]) -> Option<u64> {
    // Each part is padded to four bytes.
    let padded = |len: u32| usize::try_from(len).ok()?.checked_next_multiple_of(4);
    loop {
        let name_len = padded(u32_at(notes, 0)?)?;
        let desc_len = padded(u32_at(notes, 4)?)?;
        let kind = u32_at(notes, 8)?;
        let name = notes.get(12..)?.get(..name_len)?;
        let desc = notes[12 + name_len..].get(..desc_len)?;
        if name == XEN_NAME && kind == XEN_ELFNOTE_PHYS32_ENTRY {
            return u32_at(desc, 0).map(u64::from);
        }
        notes = &notes[12 + name_len + desc_len..];
    }
}
