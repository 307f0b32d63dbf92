//! Publishes from Rust to subscribers in any language, and back: `exchange RING ANSWERS COUNT`.
//! Publishes the words "1" to "COUNT" to the string ring at RING, and waits until another program has answered each of them
//! with its number on the integer ring at ANSWERS. In Perl, the other side is
//!
//! ```text
//! my $words   = Data::PubSub::Shared::Str->new('/dev/shm/words', 1024)->subscribe_all;
//! my $answers = Data::PubSub::Shared::Int->new('/dev/shm/answers', 1024);
//! $answers->publish($words->poll_wait) for 1 .. $count;
//! ```

use std::path::Path;

use data_pubsub_shared::{Result, Ring, Variant, Wait, NEVER};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let (words, answers, count): (&str, &str, i64) = match &args[..] {
        [_, words, answers, count] => (words, answers, count.parse().expect("COUNT is a number")),
        _ => {
            eprintln!("usage: exchange RING ANSWERS COUNT");
            std::process::exit(2);
        }
    };
    let words = Ring::open(Variant::Str, Path::new(words), 1024, 64, 0o600)?;
    let mut answers = Ring::open(Variant::Int, Path::new(answers), 1024, 0, 0o600)?.subscribe(true);
    for i in 1..=count {
        words.publish_str(i.to_string().as_bytes())?;
        let answer = loop {
            match answers.poll_int()? {
                Some(answer) => break answer,
                None => while answers.wait(NEVER) != Wait::Ready {},
            }
        };
        assert_eq!(answer, i, "the other side answers in order");
    }
    println!("{} words answered", count);
    Ok(())
}
