//! Names of quantisations: what `general.file_type` means.

use std::collections::BTreeMap;

use types::ByteCount;

use super::Tensor;

/// llama.cpp marks a file type it guessed by this bit.
const GUESSED: u64 = 1024;

/// The quantisation's name, from the file type or else from the type in which most bytes of matrices are stored.
/// Empty for a file that has neither.
pub(super) fn label(file_type: Option<u64>, tensors: &[Tensor]) -> String {
    let named = file_type
        .map(|number| number & !GUESSED)
        .and_then(|number| LABELS.iter().find(|(known, _)| *known == number).map(|(_, label)| (*label).to_owned()));
    named.unwrap_or_else(|| dominant_type(tensors))
}

/// Norms and biases stay in F32 whatever the quantisation, so vectors do not count unless there is nothing else.
fn dominant_type(tensors: &[Tensor]) -> String {
    let most = |count: fn(&Tensor) -> bool| {
        let mut bytes: BTreeMap<u32, (ByteCount, &Tensor)> = BTreeMap::new();
        for tensor in tensors.iter().filter(|tensor| count(tensor)) {
            bytes.entry(tensor.kind.id()).or_insert((ByteCount::ZERO, tensor)).0 += tensor.bytes;
        }
        bytes.into_values().max_by_key(|(bytes, _)| *bytes).map(|(_, tensor)| tensor.kind.to_string())
    };
    most(|tensor| tensor.dimensions.len() > 1).or_else(|| most(|_| true)).unwrap_or_default()
}

/// llama.cpp's file types, those it has withdrawn included: such files still exist.
const LABELS: [(u64, &str); 42] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (4, "Q4_1_SOME_F16"),
    (5, "Q4_2"),
    (6, "Q4_3"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (33, "Q4_0_4_4"),
    (34, "Q4_0_4_8"),
    (35, "Q4_0_8_8"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
    (39, "NVFP4"),
    (40, "Q1_0"),
    (41, "Q2_0"),
];
