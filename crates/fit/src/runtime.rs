//! Engines by name, and which of them takes which quantisation.

use catalog::quantization::{Container, Quantization};

use crate::speed::Engine;

impl Engine {
    /// Its code in the fit API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llamacpp",
            Self::Vllm => "vllm",
            Self::Mlx => "mlx",
        }
    }

    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vLLM",
            Self::Mlx => "MLX",
        }
    }

    /// The one that takes weights stored so.
    pub fn of(quantization: Quantization) -> Self {
        match quantization.container() {
            Container::Gguf => Self::LlamaCpp,
            Container::Safetensors => Self::Vllm,
            Container::Mlx => Self::Mlx,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantisation_has_its_engine() {
        let check = |name: &str, engine: Engine| assert_eq!(Engine::of(name.parse().unwrap()), engine, "{name}");
        check("Q4_K_M", Engine::LlamaCpp);
        check("mlx-4bit", Engine::Mlx);
        check("AWQ-4bit", Engine::Vllm);
        check("FP8", Engine::Vllm);
    }
}
