//! The router over real models.
