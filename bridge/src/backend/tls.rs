//! Errors of TLS, each with its remedy in one line, for all libraries.

/// Known causes by a word in them, with their meaning and remedy.
const CAUSES: [(&[&str], &str); 7] = [
    (
        &["unknownissuer"],
        "the server's certificate is signed by none of the authorities that are believed; see ca-file",
    ),
    (&["expired", "notvalidyet"], "the server's certificate is not valid now; renew it, or see this host's clock"),
    (&["not valid for name", "notvalidforname"], "the server's certificate is of another host; see url"),
    (
        &[
            "certificaterequired",
            "badcertificate",
            "unknownca",
            "certificateunknown",
            "decrypterror",
            "handshakefailure",
        ],
        "the server wants a certificate of ours that it believes; see cert-file and key-file",
    ),
    (&["invalidcontenttype", "corrupt message"], "the server does not speak TLS at this port; give a URL with {plain}"),
    (&["invalid peer certificate"], "see ca-file"),
    // If the server closes the connection at once, its error about our certificate is lost.
    (
        &["broken pipe", "reset by peer", "end of file"],
        "the server ended it: it may want a certificate of ours that it believes; see cert-file and key-file",
    ),
];

/// Whether an error is about TLS.
pub(super) fn is_about_tls(text: &str) -> bool {
    let lower = text.to_lowercase();
    ["tls", "fatal alert", "certificate", "corrupt message"].iter().any(|word| lower.contains(word))
}

fn has_one(lower: &str, words: &[&str]) -> bool {
    words.iter().any(|word| lower.contains(word))
}

/// The line for an error. `plain` is the beginning of a URL without TLS.
pub(super) fn why_not(name: &str, text: &str, plain: &str) -> String {
    let lower = text.to_lowercase();
    let known =
        CAUSES.iter().find(|(words, _)| has_one(&lower, words)).map(|(_, remedy)| remedy.replace("{plain}", plain));
    let remedy =
        known.unwrap_or_else(|| format!("does the server have TLS at this port? otherwise give a URL with {plain}"));
    format!("cannot begin TLS with {name}: {text}; {remedy}")
}
