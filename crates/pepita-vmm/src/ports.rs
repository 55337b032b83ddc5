//! The I/O ports of the machine.

use crate::ExitReason;
use crate::console::{self, Console};

/// Command port of the keyboard controller, and the command that pulls the reset line.
pub(crate) const I8042_COMMAND: u16 = 0x64;
pub(crate) const I8042_RESET: u8 = 0xfe;

/// The sleep control register of ACPI (4.8.3.7): bits 2 to 4 are the sleep type, bit 5 goes there.
pub(crate) const SLEEP_CONTROL: u16 = 0x600;
/// The sleep status register: it reads as ones, of which the one that says "awake" is cleared by writing it.
pub(crate) const SLEEP_STATUS: u16 = 0x601;
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_TYPE_MASK: u8 = 0b111;
/// The type of the state S5, soft off, as our tables name it.
pub(crate) const S5: u8 = 5;

/// What a guest that writes `data` to `port` comes to; nothing, mostly.
pub(crate) fn write(port: u16, data: &[u8], console: &Console) -> Option<ExitReason> {
    if let Some(offset) = offset_in_console(port) {
        console.write(offset, data);
        return None;
    }
    match (port, data) {
        (I8042_COMMAND, [I8042_RESET]) => Some(ExitReason::Reset),
        (SLEEP_CONTROL, [value]) if value & SLEEP_ENABLE != 0 => {
            let kind = (value >> SLEEP_TYPE_SHIFT) & SLEEP_TYPE_MASK;
            (kind == S5).then_some(ExitReason::Shutdown)
        }
        _ => None,
    }
}

/// What a guest reads from `port`: all ones where nothing is, as on a bus without a driver.
pub(crate) fn read(port: u16, data: &mut [u8], console: &Console) {
    if let Some(offset) = offset_in_console(port) {
        return console.read(offset, data);
    }
    // The keyboard controller takes the next command: neither buffer is full.
    let value = if port == I8042_COMMAND { 0 } else { 0xff };
    data.fill(value);
}

fn offset_in_console(port: u16) -> Option<u8> {
    let offset = port.checked_sub(console::PORT)?;
    let offset = u8::try_from(offset).ok()?;
    (offset < console::PORTS).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_commands_of_reset_and_power_off_end_a_machine() {
        let console = Console::new(Box::new(std::io::sink()));
        for port in [0, I8042_COMMAND, SLEEP_CONTROL, SLEEP_CONTROL + 1, u16::MAX] {
            for value in 0..=u8::MAX {
                let want = match (port, value) {
                    (I8042_COMMAND, 0xfe) => Some(ExitReason::Reset),
                    // Bits 0, 1, 6 and 7 are reserved.
                    (SLEEP_CONTROL, _) if value & 0x3c == 0x34 => Some(ExitReason::Shutdown),
                    _ => None,
                };
                assert_eq!(
                    write(port, &[value], &console),
                    want,
                    "{port:#x} {value:#x}"
                );
                assert_eq!(
                    write(port, &[value; 4], &console),
                    None,
                    "{port:#x} {value:#x}, four bytes"
                );
            }
        }
    }
}
