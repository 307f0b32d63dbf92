//! How soon the last of the receivers has a message. They wait in threads or processes of their own, and answer with the moment at
//! which they got it, over a ring of this crate for all libraries: the answer's way is not in the time.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use data_pubsub_shared::monotonic_ns;
use data_pubsub_shared::typed::{Publisher, Ring, Subscriber};
use pubsub_bench::{temporary, BetweenProcesses, How, Iceoryx2, Library, Ours, Receiver, Sender, CAPACITY};

use crate::Group;

/// Ends a receiver.
const END: u64 = u64::MAX;
/// The pause between an answer and the next message if receivers sleep: longer than any of them spins.
const PAUSE: Duration = Duration::from_micros(500);
/// An answer that takes so long will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver does: it says that it is there, and answers.
fn serve(receiver: &mut impl Receiver, how: How, answers: &Publisher<i64>) {
    answers.publish(0).unwrap();
    while receiver.wait(how) != END {
        answers.publish(monotonic_ns() as i64).unwrap();
    }
}

/// The latest answer of so many receivers.
fn last(answers: &mut Subscriber<i64>, receivers: usize) -> u64 {
    (0..receivers).map(|_| answers.recv_timeout(PATIENCE).expect("a receiver answers") as u64).max().unwrap_or(0)
}

fn measure(
    group: &mut Group<'_>,
    library: &str,
    sender: &mut impl Sender,
    answers: &mut Subscriber<i64>,
    (how, receivers): (How, usize),
) {
    last(answers, receivers);
    group.bench_function(library, |bencher| {
        bencher.iter_custom(|messages| {
            let mut times: Vec<u64> = (0..messages)
                .map(|_| {
                    if how == How::Asleep {
                        thread::sleep(PAUSE);
                    }
                    let start = monotonic_ns();
                    sender.send(start);
                    last(answers, receivers) - start
                })
                .collect();
            // The median of all of them: other programs take the CPUs from some.
            let middle = times.len() / 2;
            Duration::from_nanos(*times.select_nth_unstable(middle).1 * messages)
        })
    });
    sender.send(END);
}

pub fn between_threads<L: Library>(group: &mut Group<'_>, how: How, receivers: usize)
where
    L::Receiver: Send + 'static,
{
    let (mut sender, all) = L::new(how, receivers);
    let answers = Ring::<i64>::builder().capacity(CAPACITY as u64).anonymous().unwrap();
    let mut answered = answers.subscribe();
    let threads: Vec<_> = all
        .into_iter()
        .map(|mut receiver| {
            let answers = answers.publisher().unwrap();
            thread::spawn(move || serve(&mut receiver, how, &answers))
        })
        .collect();
    measure(group, L::NAME, &mut sender, &mut answered, (how, receivers));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

// --- Receivers in processes of their own: this program once more

/// Library, name and way to wait.
const RECEIVER: &str = "PUBSUB_BENCH_RECEIVER";

pub fn between_processes<L: BetweenProcesses>(group: &mut Group<'_>, how: How, receivers: usize) {
    let name = format!("pubsub-bench-{}", std::process::id());
    let files = Files([temporary(&name), temporary(&answers(&name))]);
    let mut sender = L::sender(&name, how);
    let mut answered = Ring::<i64>::builder().capacity(CAPACITY as u64).open(&files.0[1]).unwrap().subscribe();
    let mut children: Vec<Child> = (0..receivers).map(|_| spawn::<L>(&name, how)).collect();
    // Which ends them when it is closed.
    let _inputs: Vec<_> = children.iter_mut().map(|child| child.stdin.take()).collect();
    measure(group, L::NAME, &mut sender, &mut answered, (how, receivers));
    children.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
}

struct Files([std::path::PathBuf; 2]);

impl Drop for Files {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| data_pubsub_shared::unlink(path).unwrap());
    }
}

fn answers(name: &str) -> String {
    format!("{name}-answers")
}

fn spawn<L: Library>(name: &str, how: How) -> Child {
    let what = format!("{};{name};{}", L::NAME, how == How::Asleep);
    let program = std::env::current_exe().unwrap();
    Command::new(program).env(RECEIVER, what).stdin(Stdio::piped()).spawn().unwrap()
}

pub fn is_receiver() -> bool {
    std::env::var_os(RECEIVER).is_some()
}

pub fn be_receiver() {
    // However the sender ends, this process does, too.
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let what = std::env::var(RECEIVER).unwrap();
    let parts: Vec<&str> = what.split(';').collect();
    let (library, name, how) = (parts[0], parts[1], if parts[2] == "true" { How::Asleep } else { How::Spinning });
    if library == Ours::NAME {
        receive::<Ours>(name, how);
    } else {
        receive::<Iceoryx2>(name, how);
    }
}

fn receive<L: BetweenProcesses>(name: &str, how: How) {
    let answers = Ring::<i64>::open(temporary(&answers(name))).unwrap().publisher().unwrap();
    serve(&mut L::receiver(name, how), how, &answers);
}
