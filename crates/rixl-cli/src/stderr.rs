//! Standard error. Whoever has its other end may not read it: a full pipe, a pager, Ctrl-S. A run between the request and the
//! store can't wait for that, so a thread writes, and what it could not write in time is left out.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Write},
    mem,
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use indicatif::TermLike;

use crate::log;

/// How long a line is waited for. What comes then is not waited for until all before it is written.
const MOMENT: Duration = Duration::from_millis(500);
/// How long the end of the process waits for the last lines, if they are of an error.
const AT_THE_END: Duration = Duration::from_secs(5);
/// So many lines are kept that are not written yet: the last ones, among which the error is.
const KEPT: usize = 32;

#[derive(Debug)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// One is being written.
    is_writing: bool,
    /// Nobody read in time.
    is_blocked: bool,
    left_out: usize,
}

impl Queue {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), is_writing: false, is_blocked: false, left_out: 0 }
    }

    fn push(&mut self, line: Vec<u8>) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.left_out += 1;
        }
        self.lines.push_back(line);
    }

    /// The next one, after a word on those that were left out before it.
    fn pop(&mut self) -> Option<Vec<u8>> {
        let line = self.lines.pop_front()?;
        Some(match mem::take(&mut self.left_out) {
            0 => line,
            count => [left_out(count).as_bytes(), &line].concat(),
        })
    }

    fn is_done(&self) -> bool {
        self.lines.is_empty() && !self.is_writing
    }
}

fn left_out(count: usize) -> String {
    let text = format!("{count} earlier lines are left out: nobody read them in time");
    match log::is_json() {
        true => log::line("warn", log::PROGRAM, "warning", &log::Fields::message(&text)).unwrap_or_default(),
        false => format!("warning: {text}\n"),
    }
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue::new());
static CHANGED: Condvar = Condvar::new();
static HAS_WRITER: OnceLock<bool> = OnceLock::new();

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes this at once, so that lines of several processes do not mix. If that fails, nobody can be told.
pub(crate) fn write(text: Vec<u8>) {
    let start = || thread::Builder::new().name("stderr".into()).spawn(write_all).is_ok();
    if !HAS_WRITER.get_or_init(start) {
        let _ = io::stderr().write_all(&text);
        return;
    }
    let mut queue = queue();
    queue.push(text);
    CHANGED.notify_all();
    if !queue.is_blocked {
        queue = wait(queue, MOMENT);
        queue.is_blocked = !queue.is_done();
    }
}

/// Waits for what is not written yet, before the process ends.
pub(crate) fn finish(is_patient: bool) {
    drop(wait(queue(), if is_patient { AT_THE_END } else { MOMENT }));
}

fn wait(queue: MutexGuard<'static, Queue>, time: Duration) -> MutexGuard<'static, Queue> {
    CHANGED.wait_timeout_while(queue, time, |queue| !queue.is_done()).unwrap_or_else(PoisonError::into_inner).0
}

fn write_all() {
    let mut queue = queue();
    loop {
        let Some(text) = queue.pop() else {
            queue.is_blocked = false;
            CHANGED.notify_all();
            queue = CHANGED.wait_while(queue, |queue| queue.lines.is_empty()).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        queue.is_writing = true;
        drop(queue);
        let _ = io::stderr().write_all(&text);
        queue = self::queue();
        queue.is_writing = false;
    }
}

/// As a writer of whole lines.
#[derive(Debug)]
pub(crate) struct Lines;

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        write(text.to_vec());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The terminal of a progress bar. What would be drawn while nobody reads is not.
#[derive(Debug, Default)]
pub(crate) struct Screen(Mutex<String>);

impl Screen {
    #[expect(clippy::unnecessary_wraps, reason = "as all that calls it does")]
    fn add(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = fmt::Write::write_fmt(&mut *drawn, text);
        Ok(())
    }

    fn moved(&self, count: usize, letter: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.add(format_args!("\x1b[{count}{letter}")) }
    }

    fn size() -> (u16, u16) {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (size.ws_col, size.ws_row))
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        Self::size().0
    }

    fn height(&self) -> u16 {
        Self::size().1
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !drawn.is_empty() && !queue().is_blocked {
            write(drawn.into_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_once_and_the_last_lines_stay() {
        let mut queue = Queue::new();
        for number in 0..KEPT + 3 {
            queue.push(format!("{number}\n").into_bytes());
        }
        let mut text = String::new();
        while let Some(line) = queue.pop() {
            text.push_str(&String::from_utf8(line).unwrap());
        }
        let kept: String = (3..KEPT + 3).map(|number| format!("{number}\n")).collect();
        assert_eq!(text, format!("warning: 3 earlier lines are left out: nobody read them in time\n{kept}"));
    }
}
