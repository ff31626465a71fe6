//! What conversations have that do not say otherwise.

use serde_json::{Map, Value};
use tabagent_model::{ChatRequest, ThinkingBudget};

/// What conversations have that do not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatDefaults {
    /// Variables that the template reads.
    pub variables: Map<String, Value>,
    /// How many tokens the model may spend on its thoughts; `None` for any number.
    pub budget: Option<usize>,
    /// What is put in front of the end of a thought whose budget is used up.
    pub budget_message: String,
}

impl ChatDefaults {
    /// Gives a conversation the variables that it lacks.
    pub(crate) fn supply(&self, request: &mut ChatRequest) {
        for (name, value) in &self.variables {
            request.conversation.variables.entry(name).or_insert_with(|| value.clone());
        }
    }

    /// The budget of a request that names none.
    pub(crate) fn thinking(&self) -> Option<ThinkingBudget> {
        self.budget.map(|max_tokens| ThinkingBudget { max_tokens, message: self.budget_message.clone() })
    }
}
