[
    ("qwen.toml", include_str!("../data/qwen.toml")),
    ("meta.toml", include_str!("../data/meta.toml")),
    ("mistral.toml", include_str!("../data/mistral.toml")),
    ("google.toml", include_str!("../data/google.toml")),
    ("microsoft.toml", include_str!("../data/microsoft.toml")),
    ("nvidia.toml", include_str!("../data/nvidia.toml")),
    ("ibm.toml", include_str!("../data/ibm.toml")),
    ("cohere.toml", include_str!("../data/cohere.toml")),
    ("west.toml", include_str!("../data/west.toml")),
]
