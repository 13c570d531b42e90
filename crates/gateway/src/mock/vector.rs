//! Vectors for texts, the same for the same text on every machine. Texts that share words and parts of words come out
//! near each other, so that a demo of a search finds something.

/// Length of a vector where none is asked for.
pub(super) const USUAL_LENGTH: usize = 384;

/// Longest vector.
pub(super) const LONGEST: usize = 1536;

/// A vector of length 1 for a text: each three letters of its words add or subtract 1 in one place, which their hash says.
pub(super) fn of(text: &str, length: usize) -> Vec<f32> {
    let mut vector = vec![0f32; length];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let letters: Vec<char> = format!(" {word} ").chars().collect();
        for three in letters.windows(3) {
            let hash = hash(three);
            let place = usize::try_from(hash >> 1).unwrap_or(usize::MAX) % length;
            vector[place] += if hash & 1 == 0 { 1.0 } else { -1.0 };
        }
    }
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|value| *value /= norm);
    } else {
        // A text without words has a direction all the same.
        vector[0] = 1.0;
    }
    vector
}

/// FNV-1a, 32 bits: places are the same wherever this runs.
fn hash(letters: &[char]) -> u32 {
    let bytes = letters.iter().flat_map(|letter| u32::from(*letter).to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Little-endian floats in base64 (RFC 4648), which is how OpenAI's clients ask for vectors.
pub(super) fn base64(vector: &[f32]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similarity(one: &str, two: &str) -> f32 {
        of(one, USUAL_LENGTH).iter().zip(of(two, USUAL_LENGTH)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn vectors_have_length_1_and_mean_something() {
        for (text, length) in [("hello world", 384), ("", 384), ("größe 模型 !?", 7), ("a", 1)] {
            let vector = of(text, length);
            let norm = vector.iter().map(|value| value * value).sum::<f32>();
            assert!(vector.len() == length && (norm - 1.0).abs() < 1e-4, "{text}: {norm}");
            assert_eq!(vector, of(text, length));
        }
        let (near, far) = (similarity("a black cat", "black cats"), similarity("a black cat", "tax returns due"));
        assert!(near > 0.5 && far < 0.3, "{near} {far}");
    }

    #[test]
    fn base64_is_what_others_read() {
        assert_eq!(base64(&[1.0, -0.5]), "AACAPwAAAL8=");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, 2.0, 3.0]), "AACAPwAAAEAAAEBA");
        assert_eq!(base64(&[]), "");
    }
}
