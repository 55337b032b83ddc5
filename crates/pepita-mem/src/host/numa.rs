#![expect(
    unsafe_code,
    reason = "mbind and get_mempolicy by system calls, rustix has neither"
)]
//! Memory on chosen NUMA nodes: [`Mapping::bind`] and [`Mapping::node_at`].

use core::ffi::c_int;

use rustix::io::Errno;

use super::error::MapError;
use super::mapping::Mapping;

/// From which nodes the pages of a mapping come; see mbind(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumaPolicy {
    /// From these only.
    Bind,
    /// From one of these while it has memory.
    Preferred,
    /// From these in turn.
    Interleave,
}

/// Source: include/uapi/linux/mempolicy.h.
const MPOL_BIND: c_int = 2;
const MPOL_INTERLEAVE: c_int = 3;
const MPOL_PREFERRED_MANY: c_int = 5;
const MPOL_F_NODE: usize = 1;
const MPOL_F_ADDR: usize = 2;
const MPOL_MF_STRICT: usize = 1;
const MPOL_MF_MOVE: usize = 2;

/// As many nodes as kernels are built for (`CONFIG_NODES_SHIFT` up to 10).
const NODES_MAX: usize = 1024;

impl Mapping {
    /// Says from which NUMA nodes its pages come, and moves those that are there already.
    ///
    /// # Errors
    /// [`MapError::Refused`] if there is no such node, or pages cannot move.
    pub fn bind(&mut self, policy: NumaPolicy, nodes: &[u32]) -> Result<(), MapError> {
        const BITS: usize = usize::BITS as usize;
        let (operation, mode) = match policy {
            NumaPolicy::Bind => ("mbind(MPOL_BIND)", MPOL_BIND),
            NumaPolicy::Preferred => ("mbind(MPOL_PREFERRED_MANY)", MPOL_PREFERRED_MANY),
            NumaPolicy::Interleave => ("mbind(MPOL_INTERLEAVE)", MPOL_INTERLEAVE),
        };
        let mut mask = [0_usize; NODES_MAX / BITS];
        for node in nodes {
            let word = mask.get_mut(*node as usize / BITS);
            let word = word.ok_or_else(|| self.refused(operation, Errno::INVAL))?;
            *word |= 1 << (*node as usize % BITS);
        }
        // SAFETY: *mapped*: the pages are this mapping's; the contents stay. The kernel reads the mask, one
        // bit less than it is told (mbind(2), "maxnode").
        let done = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.raw(),
                self.len(),
                mode,
                mask.as_ptr(),
                NODES_MAX + 1,
                MPOL_MF_STRICT | MPOL_MF_MOVE,
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(self.refused(operation, last_error()))
        }
    }

    /// The NUMA node of the page at `offset`; brings the page into memory if it is not.
    ///
    /// # Errors
    /// [`MapError::Bounds`] outside of the mapping, [`MapError::Refused`] if the kernel knows no nodes.
    pub fn node_at(&self, offset: usize) -> Result<u32, MapError> {
        let len = self.len();
        if offset >= len {
            return Err(MapError::Bounds {
                offset,
                bytes: 1,
                len,
            });
        }
        let mut node: c_int = 0;
        // SAFETY: the kernel writes `node`; of the address it looks up the page, which is *mapped*.
        let done = unsafe {
            libc::syscall(
                libc::SYS_get_mempolicy,
                &raw mut node,
                core::ptr::null_mut::<usize>(),
                0_usize,
                self.raw().wrapping_byte_add(offset),
                MPOL_F_NODE | MPOL_F_ADDR,
            )
        };
        match u32::try_from(node) {
            Ok(node) if done == 0 => Ok(node),
            _ => Err(self.refused("get_mempolicy(MPOL_F_NODE)", last_error())),
        }
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
