//! The command line's table → man pages and shell completions, in `man/` and `completions/`.
//!
//!     cargo run --example generate
//!
//! The files are committed, so that `make install` needs no second build; the test below fails when they are old. It is
//! no command of the binary: the runtime should not carry what only packagers call.

use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// A path below the project's root, and its text.
type Page = (PathBuf, Vec<u8>);

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in pages()? {
        let path = root.join(path);
        // Every page lies in a directory of the root.
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn pages() -> io::Result<Vec<Page>> {
    let mut tree = rruntime::cli::tree();
    tree.build();
    let manuals = std::iter::once(manual(&tree)).chain(tree.get_subcommands().map(manual));
    let shells = [Shell::Bash, Shell::Zsh, Shell::Fish].map(|shell| Ok(completion(shell)));
    manuals.chain(shells).collect()
}

fn completion(shell: Shell) -> Page {
    let name = match shell {
        Shell::Zsh => "_rruntime",
        Shell::Fish => "rruntime.fish",
        _ => "rruntime.bash",
    };
    let mut text = Vec::new();
    generate(shell, &mut rruntime::cli::tree(), "rruntime", &mut text);
    (Path::new("completions").join(name), text)
}

/// The page of one command, or of the program.
fn manual(command: &Command) -> io::Result<Page> {
    let whole = command.has_subcommands();
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command.clone())
        .section("8")
        .title(name.to_uppercase())
        .source(concat!("rruntime ", env!("CARGO_PKG_VERSION")))
        .manual("rruntime manual");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if whole {
        man.render_subcommands_section(&mut text)?;
        status_files_environment().to_writer(&mut text)?;
    }
    examples(command).to_writer(&mut text)?;
    see_also(&name).to_writer(&mut text)?;
    Ok((Path::new("man").join(format!("{name}.8")), text))
}

/// The examples of the help, as it has them: pairs of two lines, what is done and how.
fn examples(command: &Command) -> Roff {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    let lines: Vec<_> = help.lines().skip(1).map(str::trim).collect();
    for pair in lines.chunks(2) {
        roff.control("TP", []);
        for line in pair {
            roff.text([roman(*line)]);
        }
    }
    roff
}

fn status_files_environment() -> Roff {
    let mut roff = Roff::new();
    let mut section = |name: &str, entries: &[(&str, &str)]| {
        roff.control("SH", [name]);
        for (term, text) in entries {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*text)]);
        }
    };
    section(
        "EXIT STATUS",
        &[
            ("0", "Success."),
            (
                "1",
                "The command failed, or the command line is wrong. The reason is on stderr and, with --log, in the log.",
            ),
            ("255", "exec could not run the program."),
            ("other", "run and exec in the foreground pass on the program's status, 128+N where signal N ended it."),
        ],
    );
    section(
        "FILES",
        &[
            ("config.json", "The configuration in the bundle's directory."),
            ("/run/rruntime", "State of the containers, one directory for each; see --root."),
        ],
    );
    section(
        "ENVIRONMENT",
        &[
            ("XDG_RUNTIME_DIR", "Rootless, the state is in rruntime below this directory."),
            ("LISTEN_FDS", "So many descriptors from 3 on are passed to the container's program (sd_listen_fds(3))."),
            ("NOTIFY_SOCKET", "Where the container's readiness is passed on to (sd_notify(3))."),
        ],
    );
    roff
}

fn see_also(name: &str) -> Roff {
    let tree = rruntime::cli::tree();
    let commands = tree.get_subcommands().map(|command| format!("rruntime-{}", command.get_name()));
    let pages: Vec<_> = std::iter::once("rruntime".to_owned())
        .chain(commands)
        .filter(|page| page != name)
        .map(|page| format!("{page}(8)"))
        .collect();
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(pages.join(", "))]);
    roff
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_committed_pages_are_current() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = pages().unwrap();
        for (path, text) in &pages {
            let committed = std::fs::read(root.join(path)).unwrap_or_default();
            assert!(committed == *text, "{}: run `cargo run --example generate`", path.display());
        }
        let known: BTreeSet<_> = pages.iter().map(|(path, _)| root.join(path)).collect();
        for directory in ["man", "completions"] {
            for entry in std::fs::read_dir(root.join(directory)).unwrap() {
                let path = entry.unwrap().path();
                assert!(known.contains(&path), "{} is of no command", path.display());
            }
        }
    }
}
