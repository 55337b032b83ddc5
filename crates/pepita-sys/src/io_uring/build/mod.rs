//! Functions that make an SQE for each operation, with the arguments of its man page.
//!
//! They fill one structure and touch nothing else. Addresses are pointers of the caller's, who keeps what
//! they lead to until the last completion; `abi/operations.md` names the test that submits each of them.

mod buffers;
mod files;
mod net;
mod paths;
mod wait;
