//! Certificates of a test's own, made by openssl: good ones, and each kind that must not be believed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Folder;

/// What `openssl ca` wants to know: `openssl x509` signs nothing that has expired already, or has no way to say so, as it is
/// newer or older.
const SIGNING: &str = "[ca]
default_ca = any
[any]
database = signed
rand_serial = yes
unique_subject = no
new_certs_dir = .
default_md = sha256
policy = named
[named]
commonName = supplied
";
const GOOD: &str = "-days 1";
const EXPIRED: &str = "-startdate 20200101000000Z -enddate 20200102000000Z";

/// The files in the directory: `ca.pem`, and signed by it `server.pem`, `expired.pem` and `elsewhere.pem` (of another host), which have the
/// key `server.key`, and `client.pem` with `client.key`; `other.pem`, which has signed nothing of these but `stranger.pem` with
/// `stranger.key`.
pub struct Certificates(PathBuf);

/// Whether they can be made; a test that needs them returns at once where they cannot.
pub fn can_be_made() -> bool {
    let found =
        Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: openssl is not installed");
    }
    found
}

impl Certificates {
    pub fn make(folder: &Folder) -> Certificates {
        let made = Certificates(folder.0.join("certificates"));
        std::fs::create_dir_all(&made.0).expect("a directory");
        for (name, key) in [("ca", "ca"), ("other", "other")] {
            made.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN={name} -keyout {key}.key -out {name}.pem"
            ));
        }
        std::fs::write(made.0.join("signing"), SIGNING).expect("write");
        std::fs::write(made.0.join("signed"), "").expect("write");
        made.sign("server", "server", "ca", "IP:127.0.0.1,DNS:localhost", GOOD);
        made.sign("expired", "server", "ca", "IP:127.0.0.1,DNS:localhost", EXPIRED);
        made.sign("elsewhere", "server", "ca", "DNS:elsewhere.example", GOOD);
        made.sign("client", "client", "ca", "DNS:client", GOOD);
        made.sign("stranger", "stranger", "other", "DNS:client", GOOD);
        made
    }

    fn sign(&self, name: &str, key: &str, by: &str, names: &str, dates: &str) {
        if !self.0.join(format!("{key}.key")).exists() {
            self.openssl(&format!("ecparam -name prime256v1 -genkey -noout -out {key}.key"));
        }
        std::fs::write(self.0.join("names"), format!("subjectAltName={names}\n")).expect("write");
        self.openssl(&format!("req -new -key {key}.key -subj /CN={name} -out request"));
        self.openssl(&format!(
            "ca -batch -config signing -notext -cert {by}.pem -keyfile {by}.key -in request -extfile names {dates} -out {name}.pem"
        ));
    }

    fn openssl(&self, arguments: &str) {
        let done = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output().expect("openssl");
        assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Arguments of a redis-server that has the good one, and asks clients for none.
    pub fn of_redis(&self) -> Vec<String> {
        let file = |name: &str| self.name(name);
        let settings = [
            ("cert-file", file("server.pem")),
            ("key-file", file("server.key")),
            ("ca-cert-file", file("ca.pem")),
            ("auth-clients", "no".to_owned()),
        ];
        settings.into_iter().flat_map(|(name, value)| [format!("--tls-{name}"), value]).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// For a command line or a configuration.
    pub fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }
}
