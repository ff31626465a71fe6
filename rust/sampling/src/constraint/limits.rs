//! The limits within which every source is compiled and run; beyond them a call returns [`GrammarError::TooLarge`](super::GrammarError::TooLarge).

use llguidance::api::ParserLimits;

/// The most bytes a source text may have.
pub const MAX_SOURCE_BYTES: usize = 8 << 20;
/// The most strings a list of choices may have.
pub const MAX_CHOICES: usize = 100_000;
/// How deep brackets may nest in a Lark or GBNF grammar, and groups in a regular expression.
pub const MAX_NESTING: usize = 200;
/// How deep objects and arrays may nest in a JSON schema, references followed.
pub const MAX_SCHEMA_DEPTH: usize = 500;
/// The most subschemas a JSON schema may have after its references were resolved where that is needed.
pub const MAX_SCHEMA_NODES: usize = 50_000;
/// The most values that the `const` and `enum` of a JSON schema may list together, those inside others counted and a text once more for
/// every 32 bytes.
pub const MAX_LISTED_VALUES: usize = 100_000;
/// The most steps that combining the parts of a JSON schema takes, each a microsecond or less; what would need more is not enforced.
pub const MAX_SCHEMA_STEPS: usize = 1_000_000;
/// The most rules that a JSON schema may become; what lies deeper in it than that is not enforced.
pub const MAX_SCHEMA_RULES: usize = 30_000;
/// The most symbols of a grammar that a JSON schema may become; the engine numbers them in 16 bits.
pub const MAX_SCHEMA_SYMBOLS: usize = 60_000;
/// The most digits before the point of a number that a JSON schema leaves open.
pub const MAX_WHOLE_DIGITS: usize = 308;
/// The most digits after the point of such a number.
pub const MAX_FRACTION_DIGITS: usize = 324;
/// The most rules a GBNF or Lark grammar may have.
pub const MAX_RULES: usize = 5_000;
/// The most distinct parts a GBNF grammar may have.
pub const MAX_GBNF_PARTS: usize = 200_000;
/// How often a part of a GBNF grammar may be repeated, nested repetitions multiplied; a larger maximum counts as none, as in llama.cpp.
pub const MAX_GBNF_REPEATS: u64 = 2_000;
/// The most bytes of text that an expression or a choice may leave no choice about: the engine takes them ahead.
pub const MAX_FORCED_BYTES: u64 = 1 << 16;
/// The most states the lexer of one grammar may reach over the life of its sequences (1 to 2 kB each).
pub const MAX_LEXER_STATES: usize = 100_000;
/// The most symbols a compiled grammar may have.
pub const MAX_GRAMMAR_SYMBOLS: usize = 500_000;
/// How many compiled grammars a [`GrammarCompiler`](super::GrammarCompiler) keeps.
pub const CACHED_GRAMMARS: usize = 64;

/// The stack of the thread that compiles: reserved address space, of which only what recursion reaches becomes memory.
pub(crate) const COMPILE_STACK_BYTES: usize = 256 << 20;

/// The engine's own limits.
pub(crate) fn parser_limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 20_000,
        initial_lexer_fuel: 2_000_000,
        step_lexer_fuel: 500_000,
        step_max_items: 200_000,
        max_lexer_states: MAX_LEXER_STATES,
        max_grammar_size: MAX_GRAMMAR_SYMBOLS,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}
