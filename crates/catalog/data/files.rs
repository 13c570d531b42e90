[
    ("qwen.toml", include_str!("../data/qwen.toml")),
    ("meta.toml", include_str!("../data/meta.toml")),
    ("mistral.toml", include_str!("../data/mistral.toml")),
    ("google.toml", include_str!("../data/google.toml")),
    ("nvidia.toml", include_str!("../data/nvidia.toml")),
]
