[
    ("qwen.toml", include_str!("../data/qwen.toml")),
    ("embedding.toml", include_str!("../data/embedding.toml")),
    ("rerank.toml", include_str!("../data/rerank.toml")),
]
