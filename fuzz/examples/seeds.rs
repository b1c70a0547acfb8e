//! Writes the seeds into `fuzz/seeds/`: `cargo run --manifest-path fuzz/Cargo.toml --example
//! seeds`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (target, name, text) in fuzz::seeds::all() {
        std::fs::create_dir_all(seeds.join(target))?;
        std::fs::write(seeds.join(target).join(name), text)?;
    }
    Ok(())
}
