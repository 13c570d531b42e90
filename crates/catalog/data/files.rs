[
    ("qwen.toml", include_str!("../data/qwen.toml")),
    ("embedding.toml", include_str!("../data/embedding.toml")),
    ("rerank.toml", include_str!("../data/rerank.toml")),
    ("speech.toml", include_str!("../data/speech.toml")),
    ("vision.toml", include_str!("../data/vision.toml")),
]
