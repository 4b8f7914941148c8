//! One file, line by line.
//!
//! The form is told from the first line that is not blank: JSON if it begins with `{`, else CSV,
//! of which that line is the header. A byte order mark before it is skipped. Lines end with a line
//! feed, or a carriage return and a line feed, and have at most 64 KiB.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use crate::replay::csv::Csv;
use crate::replay::json;
use crate::replay::record::{Flaw, Record};
use crate::sanitize;

/// The longest line, in bytes, with its end.
pub const MAX_LINE: usize = 64 * 1024;

/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// A file that is read.
pub struct Input {
    name: String,
    from: BufReader<Box<dyn Read>>,
    form: Form,
    number: u64,
    line: Vec<u8>,
}

#[derive(Debug)]
enum Form {
    /// Nothing has been read yet.
    Unknown,
    Json,
    Csv(Box<Csv>),
}

/// What was found next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A line, for [`Input::record`].
    Line,
    /// A line that is longer than any may be.
    TooLong,
    /// The end.
    End,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// A file that goes by this name in messages.
    pub fn new(name: &str, from: Box<dyn Read>) -> Self {
        Self {
            name: sanitize::line(name, 256),
            from: BufReader::with_capacity(CHUNK, from),
            form: Form::Unknown,
            number: 0,
            line: Vec::new(),
        }
    }

    /// Its name, printable.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the last line is: file and number, as in `events.csv:17`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.name, self.number)
    }

    /// Columns that are ignored.
    pub fn ignored(&self) -> &[String] {
        match &self.form {
            Form::Csv(csv) => csv.ignored(),
            Form::Unknown | Form::Json => &[],
        }
    }

    /// Goes to the next line that holds a record. The header, if it is still to come, is read on
    /// the way; if the file has no form that is known, that is an error of kind `InvalidData`.
    pub fn advance(&mut self) -> io::Result<Found> {
        loop {
            match self.next_line()? {
                Found::Line => {}
                other => return Ok(other),
            }
            let start = self.line.trim_ascii_start();
            if start.is_empty() {
                continue;
            }
            match &self.form {
                Form::Unknown if start.starts_with(b"{") => self.form = Form::Json,
                Form::Unknown => {
                    self.form = Form::Csv(Box::new(header(&self.line)?));
                    continue;
                }
                Form::Csv(csv) if csv.is_header(&self.line) => continue,
                Form::Json | Form::Csv(_) => {}
            }
            return Ok(Found::Line);
        }
    }

    /// What the line says.
    pub fn record(&mut self) -> Result<Record<'_>, Flaw> {
        match &mut self.form {
            Form::Csv(csv) => csv.read(&self.line),
            Form::Json => json::read(&self.line),
            Form::Unknown => Err(Flaw::new("no line has been read")),
        }
    }

    /// Reads a line into `line`, which then ends with a line feed.
    fn next_line(&mut self) -> io::Result<Found> {
        self.line.clear();
        let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = (&mut self.from)
            .take(most)
            .read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(Found::End);
        }
        self.number += 1;
        if self.number == 1 && self.line.starts_with(MARK) {
            self.line.drain(..MARK.len());
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if read == MAX_LINE {
            self.from.skip_until(b'\n')?;
            return Ok(Found::TooLong);
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        self.line.push(b'\n');
        Ok(Found::Line)
    }
}

/// A byte order mark in UTF-8, which some programs put before CSV.
const MARK: &[u8] = b"\xef\xbb\xbf";

fn header(line: &[u8]) -> io::Result<Csv> {
    let wrong = |why: &dyn fmt::Display| {
        let words = format!("neither a JSON object nor the header of a CSV file: {why}");
        Err(io::Error::new(io::ErrorKind::InvalidData, words))
    };
    if line.starts_with(b"\x1f\x8b") {
        return wrong(&"it is compressed; pipe it through zcat");
    }
    Csv::new(line).or_else(|flaw| wrong(&flaw))
}
