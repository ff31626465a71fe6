//! What the policy costs on simulated machines, as compared with the best fixed number of threads.

use super::machine::{Dice, Machine, Others, adapt, best_fixed, policy};
use super::*;

const CORES: [usize; 5] = [1, 2, 4, 16, 64];

/// How fast the policy is, relative to the best fixed number.
fn relative(machine: &Machine, n_steps: usize, course: &dyn Fn(usize) -> (usize, Others)) -> f64 {
    best_fixed(machine, n_steps, course) / adapt(&mut policy(machine), machine, n_steps, true, course).seconds
}

#[test]
fn quiet_machine_loses_little_from_the_first_steps_on() {
    for cores in CORES {
        for parallel in [0.3, 0.6, 0.9, 0.99] {
            for noise in [0.0, 0.03, 0.1] {
                let machine = Machine { parallel, noise, ..Machine::new(cores) };
                let quiet = |_| (1, Others::Equal(0));
                for (n_steps, least) in [(128, 0.93), (1000, 0.97), (5000, 0.975)] {
                    let found = relative(&machine, n_steps, &quiet);
                    assert!(found >= least, "{machine:?}, {n_steps} steps: {found}");
                }
            }
        }
    }
}

#[test]
fn busy_neighbours_cost_no_more_than_with_the_best_fixed_number() {
    for cores in CORES {
        for busy in [1, 2, 3, cores / 2, cores, 2 * cores] {
            for others in [Others::Equal(busy), Others::Higher(busy)] {
                for noise in [0.0, 0.1, 0.2] {
                    let machine = Machine { noise, ..Machine::new(cores) };
                    let found = relative(&machine, 10_000, &|_| (1, others));
                    let least = if noise > 0.1 { 0.93 } else { 0.95 };
                    assert!(found >= least, "{cores} cores, {others:?}, noise {noise}: {found}");
                }
            }
        }
    }
}

#[test]
fn neighbours_that_come_and_go_cost_no_more_than_with_the_best_fixed_number() {
    for cores in CORES {
        for (period, busy) in [(50, 1), (200, 1), (700, 2), (2000, cores)] {
            for others in [Others::Equal(busy), Others::Higher(busy)] {
                let machine = Machine::new(cores);
                let course = |step| (1, if step / period % 2 == 1 { others } else { Others::Equal(0) });
                let found = relative(&machine, 8000, &course);
                // The larger the machine, the more numbers there are to try after each change.
                let least = if cores <= 2 { 0.95 } else { 0.91 };
                assert!(found >= least, "{cores} cores, {others:?} every {period} steps: {found}");
            }
        }
    }
}

#[test]
fn disturbed_steps_do_not_drive_the_number_down() {
    for cores in CORES {
        for tail in [(0.01, 3.0), (0.01, 12.0), (0.05, 3.0), (0.002, 100.0)] {
            let machine = Machine { tail, ..Machine::new(cores) };
            let found = relative(&machine, 6000, &|_| (1, Others::Equal(0)));
            assert!(found >= 0.93, "{cores} cores, tail {tail:?}: {found}");
        }
    }
}

#[test]
fn steps_of_changing_width_are_compared_fairly() {
    for cores in CORES {
        for others in [Others::Equal(0), Others::Equal(1), Others::Higher(cores)] {
            let mut dice = Dice(3);
            let widths: Vec<usize> = (0..4000).map(|_| 1 + (dice.roll() * 8.0) as usize).collect();
            let machine = Machine::new(cores);
            let found = relative(&machine, widths.len(), &|step| (widths[step], others));
            assert!(found >= 0.95, "{cores} cores, {others:?}: {found}");
        }
    }
}

#[test]
fn prompts_follow_the_machine_too() {
    for cores in CORES {
        for others in [Others::Equal(0), Others::Equal(1), Others::Higher(cores)] {
            let mut dice = Dice(5);
            let widths: Vec<usize> = (0..600).map(|_| 17 + (dice.roll() * 500.0) as usize).collect();
            let machine = Machine { second: 0.005, ..Machine::new(cores) };
            let found = relative(&machine, widths.len(), &|step| (widths[step], others));
            let least = if cores <= 2 { 0.95 } else { 0.9 };
            assert!(found >= least, "{cores} cores, {others:?}: {found}");
        }
    }
}

#[test]
fn no_step_takes_long_beside_neighbours_of_higher_priority() {
    for cores in [2, 4, 16, 64] {
        let machine = Machine::new(cores);
        let others = Others::Higher(cores);
        for begin in [0, 1000] {
            let course = |step| (1, if step >= begin { others } else { Others::Equal(0) });
            let spent = adapt(&mut policy(&machine), &machine, 3000, true, &course);
            // With the default number a step takes 14 s.
            assert!(spent.longest < 1.0, "{cores} cores, busy from step {begin}: {}", spent.longest);
        }
    }
}

#[test]
fn more_threads_are_used_again_soon_after_the_neighbours_have_gone() {
    for cores in [2, 4, 16, 64] {
        for others in [Others::Equal(cores), Others::Higher(cores)] {
            let machine = Machine::new(cores);
            let mut policy = policy(&machine);
            adapt(&mut policy, &machine, 1000, true, &|_| (1, others));
            let quiet = |_| (1, Others::Equal(0));
            let waited = adapt(&mut policy, &machine, 1500, true, &quiet).seconds;
            assert!(
                policy.in_use().0 * 2 > cores || cores == 2 && policy.in_use().0 == 2,
                "{cores}: {:?} after {waited}",
                policy.in_use()
            );
        }
    }
}

#[test]
fn steps_that_cannot_be_redone_have_no_limit() {
    let machine = Machine::new(4);
    for others in [Others::Equal(0), Others::Equal(2)] {
        let course = |_| (1, others);
        let spent = adapt(&mut policy(&machine), &machine, 3000, false, &course);
        let found = best_fixed(&machine, 3000, &course) / spent.seconds;
        assert!(found >= 0.95, "{others:?}: {found}");
    }
}

#[test]
fn generation_and_prompts_are_judged_apart() {
    let mut policy = ThreadCount::new(2, None, Guess { bytes: 1e8, weights: 1e8 });
    let (token, prompt) = (Step { n_tokens: 1, can_redo: true }, Step { n_tokens: 100, can_redo: true });
    for _ in 0..200 {
        // A prompt gains from two threads, a token loses.
        let seconds = [0.0, 1.0, 0.6][policy.choose(prompt).threads];
        policy.note(prompt, seconds);
        let seconds = [0.0, 0.01, 0.03][policy.choose(token).threads];
        policy.note(token, seconds);
    }
    assert_eq!(policy.in_use(), (1, 2));
}

#[test]
fn first_step_is_cut_by_a_guess_and_done_with_fewer_threads() {
    let mut policy = ThreadCount::new(2, None, Guess { bytes: 1e8, weights: 1e8 });
    let step = Step { n_tokens: 8, can_redo: true };
    let choice = policy.choose(step);
    assert_eq!(choice.threads, 2);
    assert!((0.1..1.0).contains(&choice.limit.unwrap()), "{choice:?}");
    policy.note_cut(step, 0.5);
    assert_eq!(policy.choose(step), Choice { threads: 1, limit: None });
    assert_eq!(policy.in_use(), (1, 1), "the other kind of step begins there too");
}

#[test]
fn any_times_give_a_number_in_range() {
    let mut dice = Dice(1);
    for cores in CORES {
        let mut policy = policy(&Machine::new(cores));
        for _ in 0..20_000 {
            let step = Step { n_tokens: (dice.roll() * 2048.0) as usize, can_redo: dice.roll() < 0.5 };
            let choice = policy.choose(step);
            assert!((1..=cores).contains(&choice.threads));
            assert!(choice.limit.is_none_or(|limit| limit >= 0.0 && step.can_redo && choice.threads > 1));
            let seconds = [0.0, 1e-9, 0.01, 1.0, 1e6, f64::MAX][(dice.roll() * 6.0) as usize];
            if choice.limit.is_some() && dice.roll() < 0.3 {
                policy.note_cut(step, seconds);
            } else {
                policy.note(step, seconds);
            }
        }
    }
}

#[test]
fn prompts_keep_the_number_of_threads_that_they_were_given() {
    let mut policy = ThreadCount::new(4, Some(3), Guess { bytes: 1e8, weights: 1e8 });
    let (token, prompt) = (Step { n_tokens: 1, can_redo: true }, Step { n_tokens: 512, can_redo: true });
    for _ in 0..200 {
        assert_eq!(policy.choose(prompt), Choice { threads: 3, limit: None });
        policy.note(prompt, 30.0);
        // Slower with each thread more, as beside busy neighbours.
        policy.note(token, 0.01 * policy.choose(token).threads.pow(3) as f64);
    }
    assert_eq!(policy.in_use().1, 3);
    assert!(policy.in_use().0 < 3, "{:?}", policy.in_use());
}
