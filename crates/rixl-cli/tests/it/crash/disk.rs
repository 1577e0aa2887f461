//! What a power cut leaves: a file has the bytes of its last fsync, a folder the names of its last fsync.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::libc;

use super::{
    scene::{Role, Scene},
    tracer::Call,
};

/// How much of what was not synced is there all the same. Disks and file systems promise nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// Nothing.
    None,
    /// All names, no bytes.
    Names,
    /// All bytes, no names.
    Bytes,
    /// All names, and half of the bytes.
    Torn,
    /// All of every second file and folder, in the order in which they were made, and nothing of the others.
    Odd,
    /// The other way round.
    Even,
}

pub(crate) const LUCKS: [Luck; 6] = [Luck::None, Luck::Names, Luck::Bytes, Luck::Torn, Luck::Odd, Luck::Even];

#[derive(Clone, Debug, Default)]
struct Node {
    is_folder: bool,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    bytes: Vec<u8>,
    synced_bytes: Vec<u8>,
}

struct Open {
    node: usize,
    at: usize,
    is_append: bool,
}

/// The files of a scene, as they are and as they would be. The first node is the scene's folder.
pub(crate) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    /// Those that were there at the start, by their numbers: a file may have several names.
    known: HashMap<u64, usize>,
    open: HashMap<i32, Open>,
}

/// Below the scene's folder.
const KEPT: [&str; 2] = ["new", "store"];

impl Disk {
    /// What is there now is synced.
    pub(crate) fn of(scene: &Scene) -> Self {
        let root = scene.folder.path().to_owned();
        let folder = Node { is_folder: true, ..Node::default() };
        let mut disk = Self { root: root.clone(), nodes: vec![folder], known: HashMap::new(), open: HashMap::new() };
        for name in KEPT {
            disk.read(0, name, &root.join(name));
        }
        for node in &mut disk.nodes {
            node.synced_names.clone_from(&node.names);
            node.synced_bytes.clone_from(&node.bytes);
        }
        disk
    }

    fn read(&mut self, parent: usize, name: &str, path: &Path) {
        if path.is_dir() {
            let node = self.add(parent, name, true);
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                self.read(node, entry.file_name().to_str().unwrap(), &entry.path());
            }
        } else if path.exists() {
            let number = fs::metadata(path).unwrap().ino();
            if let Some(node) = self.known.get(&number) {
                self.nodes[parent].names.insert(name.to_owned(), *node);
                return;
            }
            let node = self.add(parent, name, false);
            self.nodes[node].bytes = fs::read(path).unwrap();
            self.known.insert(number, node);
        }
    }

    fn add(&mut self, parent: usize, name: &str, is_folder: bool) -> usize {
        let node = self.nodes.len();
        self.nodes.push(Node { is_folder, ..Node::default() });
        self.nodes[parent].names.insert(name.to_owned(), node);
        node
    }

    /// The folder of a path, and its name there.
    fn place(&self, path: &str) -> (usize, String) {
        let path = Path::new(path).strip_prefix(&self.root).unwrap();
        let mut parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
        let name = parts.pop().unwrap_or_default();
        let folder = parts.iter().fold(0, |node, part| self.nodes[node].names[*part]);
        (folder, name.to_owned())
    }

    fn find(&self, path: &str) -> Option<usize> {
        let (folder, name) = self.place(path);
        if name.is_empty() { Some(0) } else { self.nodes[folder].names.get(&name).copied() }
    }

    /// Does what these calls of one process did.
    pub(crate) fn apply(&mut self, calls: &[Call]) {
        self.open.clear();
        let on_disk = |call: &&Call| !matches!(call.role, Role::Socket | Role::Stdout | Role::Stderr);
        for call in calls.iter().filter(on_disk).filter(|call| call.is_done()) {
            self.apply_one(call);
        }
    }

    fn apply_one(&mut self, call: &Call) {
        match call.name {
            "mkdir" => {
                let (folder, name) = self.place(&call.path);
                self.add(folder, &name, true);
            }
            "openat" => {
                let flags = call.number as i32;
                let node = self.find(&call.path).unwrap_or_else(|| {
                    assert!(flags & libc::O_CREAT != 0, "{} was opened and is not there", call.path);
                    let (folder, name) = self.place(&call.path);
                    self.add(folder, &name, false)
                });
                if flags & libc::O_TRUNC != 0 {
                    self.nodes[node].bytes.clear();
                }
                self.open.insert(call.fd, Open { node, at: 0, is_append: flags & libc::O_APPEND != 0 });
            }
            "write" => {
                let open = self.open.get_mut(&call.fd).unwrap();
                let bytes = &mut self.nodes[open.node].bytes;
                if open.is_append {
                    open.at = bytes.len();
                }
                let end = open.at + call.data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[open.at..end].copy_from_slice(&call.data);
                open.at = end;
            }
            "fallocate" => {
                let bytes = &mut self.nodes[self.open[&call.fd].node].bytes;
                bytes.resize(bytes.len().max(call.number as usize), 0);
            }
            "link" => {
                let ((from, old), (to, new)) = (self.place(&call.path), self.place(&call.target));
                let node = self.nodes[from].names[&old];
                self.nodes[to].names.insert(new, node);
            }
            "ftruncate" => {
                let node = self.open[&call.fd].node;
                self.nodes[node].bytes.resize(call.number as usize, 0);
            }
            "fsync" => {
                let node = &mut self.nodes[self.open[&call.fd].node];
                node.synced_names.clone_from(&node.names);
                node.synced_bytes.clone_from(&node.bytes);
            }
            "rename" | "renameat" => {
                let ((from, old), (to, new)) = (self.place(&call.path), self.place(&call.target));
                let node = self.nodes[from].names.remove(&old).unwrap();
                self.nodes[to].names.insert(new, node);
            }
            "exchange" => {
                let ((from, old), (to, new)) = (self.place(&call.path), self.place(&call.target));
                let (first, second) = (self.nodes[from].names[&old], self.nodes[to].names[&new]);
                self.nodes[from].names.insert(old, second);
                self.nodes[to].names.insert(new, first);
            }
            "unlink" => {
                let (folder, name) = self.place(&call.path);
                self.nodes[folder].names.remove(&name).unwrap();
            }
            // Modes and locks.
            "fchmod" | "fchown" | "flock" => {}
            "close" => {
                self.open.remove(&call.fd);
            }
            name => panic!("{name} is not modelled"),
        }
    }

    /// The power goes: puts what is left in the place of what is there.
    pub(crate) fn cut(&mut self, luck: Luck) {
        for name in KEPT {
            let _ = fs::remove_dir_all(self.root.join(name));
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            match luck {
                Luck::None => {}
                Luck::Odd | Luck::Even if (luck == Luck::Even) != index.is_multiple_of(2) => {}
                Luck::Odd | Luck::Even => {
                    node.synced_names.clone_from(&node.names);
                    node.synced_bytes.clone_from(&node.bytes);
                }
                Luck::Names => node.synced_names.clone_from(&node.names),
                Luck::Bytes => node.synced_bytes.clone_from(&node.bytes),
                Luck::Torn => {
                    node.synced_names.clone_from(&node.names);
                    node.synced_bytes = torn(&node.synced_bytes, &node.bytes);
                }
            }
            node.names.clone_from(&node.synced_names);
            node.bytes.clone_from(&node.synced_bytes);
        }
        self.write(0, &self.root.clone());
    }

    fn write(&self, node: usize, path: &Path) {
        for (name, child) in &self.nodes[node].names {
            let (path, child) = (path.join(name), *child);
            let mode = if self.nodes[child].is_folder {
                fs::create_dir(&path).unwrap();
                self.write(child, &path);
                0o700
            } else {
                fs::write(&path, &self.nodes[child].bytes).unwrap();
                0o600
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// Whether it is what is really there, so that the model can be trusted.
    pub(crate) fn assert_true(&self) {
        let nodes = vec![Node::default()];
        let mut real = Self { root: self.root.clone(), nodes, known: HashMap::new(), open: HashMap::new() };
        for name in KEPT {
            real.read(0, name, &self.root.join(name));
        }
        assert_eq!(self.listed(0, ""), real.listed(0, ""));
    }

    fn listed(&self, node: usize, path: &str) -> Vec<(String, Vec<u8>)> {
        let names = self.nodes[node].names.iter();
        let all = names.flat_map(|(name, child)| {
            let path = format!("{path}/{name}");
            let mut below = self.listed(*child, &path);
            below.insert(0, (path, self.nodes[*child].bytes.clone()));
            below
        });
        all.collect()
    }
}

/// The first half of what differs has come to the disk.
fn torn(old: &[u8], new: &[u8]) -> Vec<u8> {
    let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let half = same + (new.len() - same) / 2;
    let mut bytes = new[..half].to_vec();
    bytes.extend(old.iter().skip(half));
    bytes
}
