//! A new migration is a change of this crate, though the compiler does not read the folder itself.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
