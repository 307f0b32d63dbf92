//! The same jobs by this crate and by other libraries, in one run: `cargo bench`. Each job has several turns, so that all libraries
//! get their part of the host's good and bad moments; `results.pl` takes the medians.

mod one_thread;
mod one_way;

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion};
use pubsub_bench::{Bus, Channels, How, Iceoryx2, Ours, Tokio};

type Group<'a> = BenchmarkGroup<'a, criterion::measurement::WallTime>;

const TURNS: u32 = 3;

fn main() {
    if one_way::is_receiver() {
        return one_way::be_receiver();
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .nresamples(2000)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for turn in 1..=TURNS {
        for receivers in [1, 4] {
            for job in one_thread::JOBS {
                let group = &mut criterion.benchmark_group(format!("{}, {receivers}, turn {turn}", job.name));
                one_thread::measure::<Ours>(group, job, receivers);
                one_thread::measure::<Tokio>(group, job, receivers);
                one_thread::measure::<Channels>(group, job, receivers);
                one_thread::measure::<Bus>(group, job, receivers);
                one_thread::measure::<Iceoryx2>(group, job, receivers);
            }
            for how in [How::Asleep, How::Spinning] {
                let group = &mut criterion
                    .benchmark_group(format!("one way between threads, {how:?}, {receivers}, turn {turn}"));
                one_way::between_threads::<Ours>(group, how, receivers);
                one_way::between_threads::<Tokio>(group, how, receivers);
                one_way::between_threads::<Channels>(group, how, receivers);
                one_way::between_threads::<Bus>(group, how, receivers);
            }
            for how in [How::Asleep, How::Spinning] {
                let group = &mut criterion
                    .benchmark_group(format!("one way between processes, {how:?}, {receivers}, turn {turn}"));
                one_way::between_processes::<Ours>(group, how, receivers);
                one_way::between_processes::<Iceoryx2>(group, how, receivers);
            }
        }
    }
    criterion.final_summary();
}
