//! Measures steps like those of a small model on one thread and on several, while other programs take the cores:
//! `cargo run --release -p tabagent-kernels --example neighbour -- [THREADS] [NEIGHBOURS]`.

#![allow(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use tabagent_gguf::GgmlType;
use tabagent_kernels::{Activations, KernelError, Matrix, Pool, multiply};

/// A token of 30 layers of four products; milliseconds.
fn token(matrices: &[Matrix], pool: &Pool) -> Result<f64, KernelError> {
    let begun = Instant::now();
    let mut input = Activations::new();
    let mut out = vec![0.0; 1536];
    for matrix in matrices {
        input.load(&vec![0.5; matrix.n_cols()], matrix.n_cols(), pool)?;
        multiply(matrix, &input, &mut out[..matrix.n_rows()], pool)?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let n_threads: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let n_neighbours: usize = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let shapes = [(576, 960), (576, 576), (576, 1536), (1536, 576)];
    let matrices: Result<Vec<Matrix>, _> = (0..120)
        .map(|at| {
            let (n_cols, n_rows) = shapes[at % shapes.len()];
            Matrix::pack(GgmlType::Q4_1, n_cols, n_rows, &vec![0x22; n_cols * n_rows / 32 * 20])
        })
        .collect();
    let matrices = matrices?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..n_neighbours {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // Rounds alternate, so that both meet the same machine.
        let pools = [Pool::new(1)?, Pool::new(n_threads)?];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..40 {
            for (pool, times) in pools.iter().zip(&mut times) {
                for _ in 0..10 {
                    times.push(token(&matrices, pool)?);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        for (pool, mut times) in pools.iter().zip(times) {
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            times.sort_by(f64::total_cmp);
            let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
            println!(
                "{} threads, {n_neighbours} neighbours: {mean:.2} ms a token, median {median:.2}, worst {worst:.2}",
                pool.n_threads()
            );
        }
        Ok(())
    })
}
