[("qwen.toml", include_str!("../data/qwen.toml"))]
