use types::{Backend, ByteCount, DeviceName};

use super::*;
use crate::machine::Cpu;
