//! Just enough gzip to answer with it: stored blocks, so no compressor is needed, in frames of at most 64 KiB.

/// The ten bytes every member begins with.
pub const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A gzip member being written.
#[derive(Debug)]
pub struct Gzip {
    crc: u32,
    length: u32,
}

impl Default for Gzip {
    fn default() -> Self {
        Self { crc: u32::MAX, length: 0 }
    }
}

impl Gzip {
    /// One or more stored blocks holding `content`.
    pub fn block(&mut self, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(content.len() + 16);
        for part in content.chunks(usize::from(u16::MAX)) {
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            out.push(0);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(part);
            self.length = self.length.wrapping_add(u32::from(length));
            for byte in part {
                self.crc = step(self.crc ^ u32::from(*byte));
            }
        }
        out
    }

    /// The final empty block and the trailer.
    pub fn tail(&self) -> Vec<u8> {
        let mut out = vec![1, 0, 0, 255, 255];
        out.extend_from_slice(&(!self.crc).to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out
    }
}

/// Eight bits of the reflected CRC-32.
fn step(mut crc: u32) -> u32 {
    for _ in 0..8 {
        crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sum_is_the_one_of_the_standard() {
        let mut gzip = Gzip::default();
        let block = gzip.block(b"123456789");
        assert_eq!(block.get(5..), Some(&b"123456789"[..]));
        let tail = gzip.tail();
        assert_eq!(tail.get(5..9), Some(&0xCBF4_3926_u32.to_le_bytes()[..]));
        assert_eq!(tail.get(9..), Some(&9_u32.to_le_bytes()[..]));
    }
}
