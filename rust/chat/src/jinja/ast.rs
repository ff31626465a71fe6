//! The syntax tree of a template.

use std::sync::Arc;

/// A name, as its number in the template's table of names.
pub(crate) type Symbol = u32;

/// An expression and where it begins.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) kind: Box<ExprKind>,
    pub(crate) line: u32,
    /// How many expressions lie in each other here, at most.
    pub(crate) depth: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// What stands in the parentheses of a call, filter or test.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(String, Expr)>,
    pub(crate) rest: Option<Expr>,
    pub(crate) named_rest: Option<Expr>,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    /// A literal, as its number in the template's table of literals.
    Const(usize),
    Name(Symbol),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Expr, String),
    Item(Expr, Expr),
    Slice(Option<Expr>, Option<Expr>, Option<Expr>),
    Call(Expr, Arguments),
    Filter(Option<Expr>, String, Arguments),
    Test(Expr, String, Arguments),
    Not(Expr),
    Negate(Expr),
    Plus(Expr),
    Binary(BinaryOp, Expr, Expr),
    And(Expr, Expr),
    Or(Expr, Expr),
    Concat(Vec<Expr>),
    Compare(Expr, Vec<(CompareOp, Expr)>),
    If {
        test: Expr,
        then: Expr,
        otherwise: Option<Expr>,
    },
}

/// What an assignment writes to.
#[derive(Debug)]
pub(crate) enum Target {
    Name(Symbol),
    Tuple(Vec<Target>),
    /// `name.attribute` of a namespace.
    Attribute(Symbol, String),
}

/// The arguments and the body of a macro or of a call block.
#[derive(Debug)]
pub(crate) struct MacroDecl {
    pub(crate) name: Option<String>,
    pub(crate) parameters: Vec<(Symbol, Option<Expr>)>,
    pub(crate) body: Vec<Stmt>,
    pub(crate) catches_args: bool,
    pub(crate) catches_kwargs: bool,
    pub(crate) uses_caller: bool,
}

#[derive(Debug)]
pub(crate) struct ForLoop {
    pub(crate) target: Target,
    pub(crate) iter: Expr,
    pub(crate) test: Option<Expr>,
    pub(crate) recursive: bool,
    pub(crate) body: Vec<Stmt>,
    pub(crate) otherwise: Vec<Stmt>,
}

#[derive(Debug)]
pub(crate) enum Piece {
    Data(String),
    Value(Expr),
}

#[derive(Debug)]
pub(crate) struct Stmt {
    pub(crate) kind: StmtKind,
    pub(crate) line: u32,
}

#[derive(Debug)]
pub(crate) enum StmtKind {
    Output(Vec<Piece>),
    For(Arc<ForLoop>),
    /// Tests with their bodies, and what runs if none holds.
    If(Vec<(Expr, u32, Vec<Stmt>)>, Vec<Stmt>),
    Set(Target, Expr),
    SetBlock(Target, Option<Expr>, Vec<Stmt>),
    Macro(Symbol, Arc<MacroDecl>),
    CallBlock(Expr, Arc<MacroDecl>),
    FilterBlock(Expr, Vec<Stmt>),
    With(Vec<(Target, Expr)>, Vec<Stmt>),
    /// `block` and `autoescape`, which run their body in a scope of its own.
    Scope {
        body: Vec<Stmt>,
        from_root: bool,
    },
    Generation(Vec<Stmt>),
    Break,
    Continue,
    /// Another template is asked for; there is none.
    Load(Expr),
}

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Ast {
    pub(crate) body: Vec<Stmt>,
    pub(crate) names: Vec<String>,
    pub(crate) literals: Vec<Literal>,
}

impl Ast {
    pub(crate) fn symbol(&self, name: &str) -> Option<Symbol> {
        self.names.iter().position(|known| known == name).map(|at| at as Symbol)
    }
}
