//! A file as an encrypted disk, by AES-256 in XTS mode, until Enter is pressed: `ublk_crypt FILE KEYFILE`.
//!
//! ```console
//! # head -c 64 /dev/urandom > key; truncate --size 64M secret.img
//! # ublk_crypt secret.img key &
//! /dev/ublkb0: secret.img
//! # mkfs.ext4 -q /dev/ublkb0 && mount /dev/ublkb0 /mnt
//! ```

use std::error::Error;
use std::path::Path;

use aes::Aes256;
use aes::cipher::KeyInit;
use pepita_io::FileDevice;
use pepita_io::compose::{MapDevice, Transform};
use pepita_io::ublk::{Disk, Server};
use xts_mode::{Xts128, get_tweak_default};

/// The cipher of a disk, whose tweak is the number of the sector.
struct Xts(Xts128<Aes256>);

impl Transform for Xts {
    fn encode(&self, sector: u64, data: &mut [u8]) {
        self.0
            .encrypt_area(data, 512, sector.into(), get_tweak_default);
    }

    fn decode(&self, sector: u64, data: &mut [u8]) {
        self.0
            .decrypt_area(data, 512, sector.into(), get_tweak_default);
    }
}

pub(crate) fn serve(file: &Path, key: &[u8; 64]) -> Result<Disk, Box<dyn Error>> {
    let [data, tweak] = [&key[..32], &key[32..]].map(Aes256::new_from_slice);
    let cipher = Xts(Xts128::new(data?, tweak?));
    Ok(Server::new().serve(MapDevice::new(FileDevice::open(file)?, cipher)?)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, key] = &arguments[..] else {
        return Err("usage: ublk_crypt FILE KEYFILE".into());
    };
    let key = std::fs::read(key)?;
    let key = key
        .as_slice()
        .try_into()
        .map_err(|_| "a key has 64 bytes")?;
    let disk = serve(Path::new(file), key)?;
    println!("{}: {file}", disk.path().display());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(disk.delete()?)
}
