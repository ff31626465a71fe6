//! A row of logits, and what is left of it while a step runs.
//!
//! [`pool`] is what the stages work on: the whole row ([`logits_row`]) or the few candidates left, in a list ([`candidates`]). A row is read in
//! blocks ([`blocks`]) by vector code ([`simd`]); where a cut by a share of the probability falls is estimated from a sample and found in
//! one pass.

pub(crate) mod blocks;
pub(crate) mod bracketed;
pub(crate) mod candidates;
pub(crate) mod cut_estimate;
pub(crate) mod cut_search;
pub(crate) mod goal;
pub(crate) mod last_kept;
pub(crate) mod log_sum;
pub(crate) mod logits_row;
pub(crate) mod lowest_logit;
pub(crate) mod pool;
pub(crate) mod prefix_end;
pub(crate) mod rank_key;
pub(crate) mod ranked_row;
pub(crate) mod simd;
pub(crate) mod weight;
