[
    ("qwen.toml", include_str!("../data/qwen.toml")),
    ("allen.toml", include_str!("../data/allen.toml")),
    ("huggingface.toml", include_str!("../data/huggingface.toml")),
    ("tii.toml", include_str!("../data/tii.toml")),
    ("liquid.toml", include_str!("../data/liquid.toml")),
    ("lg.toml", include_str!("../data/lg.toml")),
    ("makers.toml", include_str!("../data/makers.toml")),
    ("early.toml", include_str!("../data/early.toml")),
    ("asia.toml", include_str!("../data/asia.toml")),
    ("europe.toml", include_str!("../data/europe.toml")),
]
