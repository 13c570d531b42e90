[
    ("qwen.toml", include_str!("../data/qwen.toml")),
    ("deepseek.toml", include_str!("../data/deepseek.toml")),
    ("moonshot.toml", include_str!("../data/moonshot.toml")),
    ("zhipu.toml", include_str!("../data/zhipu.toml")),
    ("minimax.toml", include_str!("../data/minimax.toml")),
    ("china.toml", include_str!("../data/china.toml")),
    ("meta.toml", include_str!("../data/meta.toml")),
    ("google.toml", include_str!("../data/google.toml")),
    ("mistral.toml", include_str!("../data/mistral.toml")),
]
