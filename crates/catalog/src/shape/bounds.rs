//! How large the numbers of a shape may be: small enough that no product of them overflows, larger than any model's.
//!
//! A shape may come from a stranger's file. Everything that computes with one goes through `Shape::layers` first, which
//! asks here.

use super::{Block, Indexer, Recurrent, Shape, ShapeError};

/// Widths, ranks, rows: what the side of a matrix may be.
const WIDTH: u64 = 1 << 24;
/// Heads, groups, elements of a head, tokens of a convolution: what is multiplied three at a time.
const SMALL: u64 = 1 << 16;
/// Tokens.
const CONTEXT: u64 = 1 << 27;
/// Parameters of a part beside the layers.
const PARAMETERS: u64 = 1 << 44;

/// Refuses a shape with a number that no model has.
pub(super) fn check(shape: &Shape) -> Result<(), ShapeError> {
    let mut numbers = vec![
        ("hidden", shape.hidden, WIDTH),
        ("vocabulary", shape.vocabulary, WIDTH),
        ("context", shape.context, CONTEXT),
        ("per_layer_embedding", shape.per_layer_embedding, SMALL),
        ("per_layer_vocabulary", shape.per_layer_vocabulary.unwrap_or(0), WIDTH),
        ("rows of ngrams", shape.ngrams.map_or(0, |ngrams| ngrams.rows), 1 << 40),
        ("width of ngrams", shape.ngrams.map_or(0, |ngrams| ngrams.width), WIDTH),
        ("shared_kv_layers", shape.shared_kv_layers, SMALL),
        ("positions", shape.positions, WIDTH),
    ];
    for part in &shape.parts {
        numbers.extend([
            ("layers of a part", part.layers, SMALL),
            ("hidden of a part", part.hidden, WIDTH),
            ("feed_forward of a part", part.feed_forward, WIDTH),
            ("parameters of a part", part.parameters, PARAMETERS),
        ]);
    }
    shape.blocks.iter().for_each(|block| of_block(block, &mut numbers));
    match numbers.into_iter().find(|(_, found, limit)| found > limit) {
        Some((what, found, limit)) => Err(ShapeError::TooLarge { shape: shape.name.clone(), what, found, limit }),
        None => Ok(()),
    }
}

fn of_block(block: &Block, numbers: &mut Vec<(&'static str, u64, u64)>) {
    numbers.push(("feed_forward", block.feed_forward, WIDTH));
    if let Some(attention) = block.attention {
        numbers.extend([
            ("heads", attention.heads, SMALL),
            ("kv_heads", attention.kv_heads, SMALL),
            ("head", attention.head, SMALL),
            ("value", attention.value.unwrap_or(0), SMALL),
        ]);
        numbers.extend(of_indexer(attention.indexer));
    }
    if let Some(sliding) = block.sliding {
        numbers.extend([
            ("window", sliding.window, CONTEXT),
            ("heads", sliding.heads.unwrap_or(0), SMALL),
            ("kv_heads", sliding.kv_heads.unwrap_or(0), SMALL),
            ("head", sliding.head.unwrap_or(0), SMALL),
        ]);
    }
    if let Some(latent) = &block.latent {
        numbers.extend([
            ("query_rank", latent.query_rank, WIDTH),
            ("rank", latent.rank, WIDTH),
            ("rope", latent.rope, SMALL),
            ("key", latent.key, SMALL),
            ("value", latent.value, SMALL),
        ]);
        numbers.extend(of_indexer(latent.indexer));
    }
    if let Some(compressed) = &block.compressed {
        numbers.extend([
            ("compressed.query_rank", compressed.query_rank, WIDTH),
            ("compressed.head", compressed.head, SMALL),
            ("compressed.output_groups", compressed.output_groups, SMALL),
            ("compressed.output_rank", compressed.output_rank, SMALL),
            ("compressed.window", compressed.window, CONTEXT),
            ("compressed.sparse_ratio", compressed.sparse_ratio, SMALL),
            ("compressed.heavy_ratio", compressed.heavy_ratio, SMALL),
        ]);
        numbers.extend(of_indexer(Some(compressed.indexer)));
    }
    if let Some(experts) = &block.experts {
        numbers.extend([
            ("experts.total", experts.total, SMALL),
            ("experts.used", experts.used, SMALL),
            ("experts.width", experts.width, WIDTH),
            ("experts.shared_width", experts.shared_width, WIDTH),
            ("experts.latent", experts.latent, WIDTH),
            ("experts.dense_width", experts.dense_width, WIDTH),
        ]);
    }
    if let Some(recurrent) = block.recurrent {
        numbers.extend(of_state(recurrent));
    }
}

fn of_indexer(indexer: Option<Indexer>) -> impl Iterator<Item = (&'static str, u64, u64)> {
    indexer
        .into_iter()
        .flat_map(|Indexer { heads, head, .. }| [("indexer.heads", heads, SMALL), ("indexer.head", head, SMALL)])
}

/// The numbers of a recurrent state, four or fewer of which are multiplied with one another.
fn of_state(recurrent: Recurrent) -> Vec<(&'static str, u64, u64)> {
    let small = |number| ("a number of a recurrent state", number, SMALL);
    let width = |number| ("a width of a recurrent state", number, WIDTH);
    match recurrent {
        Recurrent::Mamba { inner, state, convolution, time_step } => {
            vec![width(inner), small(state), small(convolution), width(time_step)]
        }
        Recurrent::Mamba2 { inner, state, convolution, heads, groups } => {
            vec![width(inner), small(state), small(convolution), small(heads), small(groups)]
        }
        Recurrent::DeltaNet { key_heads, value_heads, key, value, convolution } => {
            [key_heads, value_heads, key, value, convolution].map(small).to_vec()
        }
        Recurrent::Kda { heads, head, convolution, .. } => [heads, head, convolution].map(small).to_vec(),
        Recurrent::ShortConvolution { convolution } => vec![small(convolution)],
        Recurrent::Lightning { heads, head } => vec![small(heads), small(head)],
        Recurrent::Rwkv { head, rank, .. } => vec![small(head), width(rank)],
        Recurrent::RgLru { width: lanes, convolution, heads } => vec![width(lanes), small(convolution), small(heads)],
    }
}
