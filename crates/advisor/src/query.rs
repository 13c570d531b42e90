//! What is asked of a list of models: the fit API's parameters, their aliases and their defaults.

use api::FitFilters;
use fit::FitLevel;
use fit::speed::Engine;
use hardware::{CardMemory, Overrides};
use types::ByteCount;

/// The lists of the fit API, which differ in their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `/api/v1/models`, and under it by name: everything, also what does not run.
    Models,
    /// `/api/v1/models/top`: the five best that run.
    Top,
}

/// A question, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Most rows of the answer.
    pub limit: Option<usize>,
    /// Rows left out at the start.
    pub offset: usize,
    /// The lowest level shown.
    pub min_fit: MinFit,
    /// The category shown.
    pub use_case: Option<Category>,
    /// A part of the provider's name, in lower case.
    pub provider: Option<String>,
    /// Words that must all be found, in lower case.
    pub search: Vec<String>,
    /// Licences of which one must be the model's, in lower case.
    pub licenses: Vec<String>,
    /// The order.
    pub sort: Sort,
    /// What the numbers are reckoned with.
    pub terms: Terms,
    /// What was asked, for the answer.
    pub echo: FitFilters,
}

/// What numbers are reckoned with; another analysis for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Largest context reckoned with, tokens.
    pub max_context: Option<u64>,
    /// The only engine reckoned with.
    pub runtime: Option<Engine>,
    /// System memory in place of the machine's, GiB.
    pub ram_gb: Option<f64>,
    /// Accelerator memory in place of the machine's, GiB.
    pub vram_gb: Option<f64>,
    /// Cores in place of the machine's.
    pub cpu_cores: Option<u32>,
}

impl Terms {
    /// The hardware that is meant in place of the machine's; `None` if the machine's own is.
    pub fn overrides(&self) -> Option<Overrides> {
        if self.ram_gb.is_none() && self.vram_gb.is_none() && self.cpu_cores.is_none() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be at most a PiB")]
        let bytes = |gb: f64| ByteCount::bytes((gb * f64::from(1 << 30)) as u64);
        let each = |gb| CardMemory { count: None, each: bytes(gb) };
        Some(Overrides { memory: self.vram_gb.map(each), ram: self.ram_gb.map(bytes), cpu_cores: self.cpu_cores })
    }
}

/// Which levels are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinFit {
    level: FitLevel,
    too_tight: bool,
}

/// The category of a model, in the words of the fit API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are the contract's and say all there is")]
pub enum Category {
    General,
    Coding,
    Reasoning,
    Chat,
    Multimodal,
    Embedding,
}

/// The order of a list; the best or largest first, `use_case` by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are the contract's")]
pub enum Sort {
    #[default]
    Score,
    Tps,
    Params,
    Memory,
    Context,
    Date,
    UseCase,
}

/// A parameter whose value does not do; says which values would, in the contract's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {parameter} value: use {allowed}")]
pub struct QueryError {
    /// The parameter.
    pub parameter: String,
    /// What would do.
    pub allowed: &'static str,
}

/// A number beyond these is a slip of the keyboard.
const GB_MIN: f64 = 0.001;
const GB_MAX: f64 = 1_048_576.0;
/// What would do.
pub(crate) const GB_ALLOWED: &str = "a number of gigabytes, 0.001 to 1048576";
pub(crate) const CORES_MAX: u32 = 65_536;
const CONTEXT_MAX: u64 = 1_000_000_000;

impl Query {
    /// Reads the parameters of a request. Names that mean nothing here are passed over: they may mean something to a
    /// later version. An empty value is no value, but for a flag.
    ///
    /// # Errors
    /// The first value that does not do.
    pub fn read(list: List, name: Option<&str>, pairs: &[(String, String)]) -> Result<Self, QueryError> {
        let mut echo = FitFilters { sort: Sort::default().as_str().to_owned(), ..FitFilters::default() };
        let mut terms = Terms::default();
        let (mut min_fit, mut include_too_tight, mut use_case, mut sort) = (None, None, None, Sort::default());
        let (mut alias_of_limit, mut force_runtime) = (None, None);
        echo.runtime = Some("any".to_owned());
        for (parameter, value) in pairs {
            let (parameter, value) = (parameter.as_str(), value.trim());
            // A flag without a value could mean either.
            if value.is_empty() && !matches!(parameter, "perfect" | "include_too_tight") {
                continue;
            }
            let word = value.to_lowercase();
            let wrong = |allowed: &'static str| wrong(parameter, allowed);
            let count = || count(value).ok_or_else(|| wrong("a whole number from 0"));
            let flag = || match word.as_str() {
                "true" | "1" | "yes" => Ok(true),
                "false" | "0" | "no" => Ok(false),
                _ => Err(wrong("true|false")),
            };
            let gb = || {
                let number = value.parse::<f64>().ok().filter(|gb| is_memory(*gb));
                number.ok_or_else(|| wrong(GB_ALLOWED))
            };
            match parameter {
                "limit" => echo.limit = Some(count()?),
                "n" | "top" => alias_of_limit = Some(count()?),
                "offset" => echo.offset = Some(count()?),
                "perfect" => echo.perfect = Some(flag()?),
                "min_fit" => {
                    let level = level(&word).ok_or_else(|| wrong("perfect|good|marginal|too_tight"))?;
                    min_fit = Some(level);
                }
                "runtime" => terms.runtime = runtime(&word).ok_or_else(|| wrong("any|mlx|llamacpp|vllm"))?,
                "force_runtime" => force_runtime = runtime(&word).ok_or_else(|| wrong("mlx|llamacpp|vllm"))?,
                "use_case" => {
                    let category = Category::from_word(&word);
                    let allowed = "general|coding|reasoning|chat|multimodal|embedding";
                    use_case = Some(category.ok_or_else(|| wrong(allowed))?);
                }
                "provider" => echo.provider = Some(value.to_owned()),
                "search" => echo.search = Some(value.to_owned()),
                "license" => echo.license = Some(value.to_owned()),
                "sort" => {
                    let order = Sort::from_word(&word);
                    sort = order.ok_or_else(|| wrong("score|tps|params|mem|ctx|date|use_case"))?;
                }
                "include_too_tight" => include_too_tight = Some(flag()?),
                "max_context" => {
                    let tokens = value.parse::<u64>().ok().filter(|tokens| (1..=CONTEXT_MAX).contains(tokens));
                    terms.max_context = Some(tokens.ok_or_else(|| wrong("1 to 1000000000 tokens"))?);
                }
                "ram_gb" | "ram" => terms.ram_gb = Some(gb()?),
                "vram_gb" | "memory" => terms.vram_gb = Some(gb()?),
                "cpu_cores" => {
                    let cores = value.parse::<u32>().ok().filter(|cores| (1..=CORES_MAX).contains(cores));
                    terms.cpu_cores = Some(cores.ok_or_else(|| wrong("a whole number from 1 to 65536"))?);
                }
                _ => {}
            }
        }
        terms.runtime = force_runtime.or(terms.runtime);
        if let Some(engine) = terms.runtime {
            echo.runtime = Some(engine.as_str().to_owned());
        }
        if list == List::Top {
            echo.limit = echo.limit.or(alias_of_limit).or(Some(5));
            echo.top_only = true;
        }
        echo.limit = echo.limit.or(alias_of_limit);
        if let Some(name) = name {
            let words = echo.search.take();
            echo.search = Some(words.map_or_else(|| name.to_owned(), |words| format!("{name} {words}")));
        }
        let perfect = echo.perfect == Some(true);
        let level = if perfect { FitLevel::Perfect } else { min_fit.unwrap_or(FitLevel::Marginal) };
        echo.min_fit = Some(level.as_str().to_owned());
        // As the contract's example has it: the parameter or its default, whatever `min_fit` makes of it.
        echo.include_too_tight = include_too_tight.unwrap_or(list == List::Models);
        let min_fit = MinFit::new(list, min_fit, include_too_tight, perfect);
        echo.use_case = use_case.map(|category| category.as_str().to_owned());
        sort.as_str().clone_into(&mut echo.sort);
        echo.max_context = terms.max_context;
        (echo.ram_gb, echo.vram_gb, echo.cpu_cores) = (terms.ram_gb, terms.vram_gb, terms.cpu_cores);
        let words = |text: &Option<String>, separator: fn(char) -> bool| -> Vec<String> {
            let text = text.as_deref().unwrap_or_default().to_lowercase();
            text.split(separator).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        Ok(Self {
            limit: echo.limit,
            offset: echo.offset.unwrap_or(0),
            min_fit,
            use_case,
            provider: echo.provider.as_ref().map(|part| part.to_lowercase()),
            search: words(&echo.search, char::is_whitespace),
            licenses: words(&echo.license, |c| c == ','),
            sort,
            terms,
            echo,
        })
    }
}

impl Default for Query {
    /// What `/api/v1/models` asks without parameters.
    fn default() -> Self {
        Self::read(List::Models, None, &[]).expect("no parameter has no wrong value")
    }
}

impl MinFit {
    /// Unless a level is named, all that run are shown, and on the whole list also what does not; a named level leaves
    /// out what does not run, unless that is asked for by name.
    fn new(list: List, named: Option<FitLevel>, include_too_tight: Option<bool>, perfect: bool) -> Self {
        if perfect {
            return Self { level: FitLevel::Perfect, too_tight: false };
        }
        let level = named.unwrap_or(FitLevel::Marginal);
        let asked_by_level = level == FitLevel::TooTight;
        let too_tight = include_too_tight.unwrap_or(asked_by_level || (named.is_none() && list == List::Models));
        Self { level: if asked_by_level { FitLevel::Marginal } else { level }, too_tight }
    }

    /// Whether a model of this level is shown.
    pub fn shows(self, level: FitLevel) -> bool {
        if level == FitLevel::TooTight { self.too_tight } else { level <= self.level }
    }
}

impl Category {
    /// Its word in questions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Coding => "coding",
            Self::Reasoning => "reasoning",
            Self::Chat => "chat",
            Self::Multimodal => "multimodal",
            Self::Embedding => "embedding",
        }
    }

    /// Its word in answers.
    pub const fn label(self) -> &'static str {
        match self {
            Self::General => "General",
            Self::Coding => "Coding",
            Self::Reasoning => "Reasoning",
            Self::Chat => "Chat",
            Self::Multimodal => "Multimodal",
            Self::Embedding => "Embedding",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "general" => Self::General,
            "coding" | "code" => Self::Coding,
            "reasoning" | "reason" => Self::Reasoning,
            "chat" => Self::Chat,
            "multimodal" | "vision" => Self::Multimodal,
            "embedding" | "embed" => Self::Embedding,
            _ => return None,
        })
    }
}

impl Sort {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Tps => "tps",
            Self::Params => "params",
            Self::Memory => "mem",
            Self::Context => "ctx",
            Self::Date => "date",
            Self::UseCase => "use_case",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "score" => Self::Score,
            "tps" | "tokens" | "throughput" => Self::Tps,
            "params" => Self::Params,
            "mem" | "memory" | "mem_pct" | "utilization" => Self::Memory,
            "ctx" | "context" => Self::Context,
            "date" | "release" | "released" => Self::Date,
            "use_case" | "use" => Self::UseCase,
            _ => return None,
        })
    }
}

/// Whether a machine can have so many GiB.
pub(crate) fn is_memory(gb: f64) -> bool {
    (GB_MIN..=GB_MAX).contains(&gb)
}

/// A count of rows: what an `int64` of the API's description holds.
fn count(value: &str) -> Option<usize> {
    let count = value.parse::<u64>().ok().filter(|count| *count <= i64::MAX.unsigned_abs())?;
    Some(usize::try_from(count).unwrap_or(usize::MAX))
}

fn level(word: &str) -> Option<FitLevel> {
    match word {
        "tootight" | "tight" => Some(FitLevel::TooTight),
        word => FitLevel::ALL.into_iter().find(|level| level.as_str() == word),
    }
}

/// `Some(None)` for any.
fn runtime(word: &str) -> Option<Option<Engine>> {
    Some(match word {
        "any" => None,
        "llamacpp" | "llama.cpp" | "llama_cpp" => Some(Engine::LlamaCpp),
        "mlx" => Some(Engine::Mlx),
        "vllm" => Some(Engine::Vllm),
        _ => return None,
    })
}

fn wrong(parameter: &str, allowed: &'static str) -> QueryError {
    QueryError { parameter: parameter.to_owned(), allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: List, query: &str) -> Result<Query, QueryError> {
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Query::read(list, None, &pairs)
    }

    #[test]
    fn wrong_values_are_told_with_those_that_would_do() {
        let check = |query: &str, expected: &str| {
            assert_eq!(read(List::Models, query).unwrap_err().to_string(), expected);
        };
        check("min_fit=great", "invalid min_fit value: use perfect|good|marginal|too_tight");
        check("runtime=onnx", "invalid runtime value: use any|mlx|llamacpp|vllm");
        check("use_case=sex", "invalid use_case value: use general|coding|reasoning|chat|multimodal|embedding");
        check("sort=name", "invalid sort value: use score|tps|params|mem|ctx|date|use_case");
        check("limit=-1", "invalid limit value: use a whole number from 0");
        check("limit=x", "invalid limit value: use a whole number from 0");
        check("perfect=maybe", "invalid perfect value: use true|false");
        check("max_context=0", "invalid max_context value: use 1 to 1000000000 tokens");
        check("ram_gb=NaN", "invalid ram_gb value: use a number of gigabytes, 0.001 to 1048576");
        check("vram_gb=inf", "invalid vram_gb value: use a number of gigabytes, 0.001 to 1048576");
    }

    #[test]
    fn levels_shown() {
        let check = |list, query: &str, expected: &[FitLevel]| {
            let shown = read(list, query).unwrap().min_fit;
            let shown: Vec<FitLevel> = FitLevel::ALL.into_iter().filter(|level| shown.shows(*level)).collect();
            assert_eq!(shown, expected, "{list:?} {query}");
        };
        use FitLevel::{Good, Marginal, Perfect, TooTight};
        check(List::Models, "", &[Perfect, Good, Marginal, TooTight]);
        check(List::Models, "include_too_tight=false", &[Perfect, Good, Marginal]);
        check(List::Models, "min_fit=marginal", &[Perfect, Good, Marginal]);
        check(List::Models, "min_fit=good", &[Perfect, Good]);
        check(List::Models, "min_fit=too_tight", &[Perfect, Good, Marginal, TooTight]);
        check(List::Models, "min_fit=too_tight&perfect=true", &[Perfect]);
        check(List::Top, "", &[Perfect, Good, Marginal]);
        check(List::Top, "include_too_tight=true", &[Perfect, Good, Marginal, TooTight]);
        check(List::Top, "min_fit=too_tight", &[Perfect, Good, Marginal, TooTight]);
    }

    #[test]
    fn aliases_and_defaults() {
        let query = read(List::Top, "").unwrap();
        assert_eq!(
            (query.limit, query.echo.sort.as_str(), query.echo.min_fit.as_deref()),
            (Some(5), "score", Some("marginal"))
        );
        let echo = |list, query| {
            let echo = read(list, query).unwrap().echo;
            (echo.min_fit.unwrap(), echo.include_too_tight)
        };
        let word = str::to_owned;
        assert_eq!(echo(List::Models, ""), (word("marginal"), true));
        assert_eq!(echo(List::Models, "min_fit=good"), (word("good"), true));
        assert_eq!(echo(List::Models, "min_fit=tight"), (word("too_tight"), true));
        assert_eq!(echo(List::Models, "perfect=1&min_fit=good"), (word("perfect"), true));
        assert_eq!(echo(List::Top, ""), (word("marginal"), false));
        let query = read(List::Top, "n=3&sort=Throughput&runtime=llama.cpp&use_case=VISION&search=Llama 8B").unwrap();
        assert_eq!(query.limit, Some(3));
        assert_eq!((query.sort, query.use_case), (Sort::Tps, Some(Category::Multimodal)));
        assert_eq!(query.terms.runtime, Some(Engine::LlamaCpp));
        assert_eq!(query.search, ["llama", "8b"]);
        assert_eq!(read(List::Models, "limit=2&n=9").unwrap().limit, Some(2), "limit wins");
        assert_eq!(read(List::Models, "unheard_of=1&search=").unwrap().echo.search, None);
        let named = Query::read(List::Models, Some("Mistral"), &[]).unwrap();
        assert_eq!((named.search, named.limit), (vec!["mistral".to_owned()], None));
    }
}
