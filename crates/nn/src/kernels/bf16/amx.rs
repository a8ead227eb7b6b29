//! The tile registers of AMX, and whether they may be used.
#![allow(unsafe_code)]

use std::arch::asm;

use super::tiles::{ROW_BYTES, ROWS, Tiles};

/// The registers of the processor.
pub(super) struct Amx(());

/// Shape of all eight registers: palette 1, 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config([u8; 64]);

static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = ROW_BYTES as u8;
        bytes[48 + tile] = ROWS as u8;
        tile += 1;
    }
    Config(bytes)
};

// SAFETY: the instructions touch 16 rows of 64 bytes at the given addresses and the tile registers, which nothing but this
// file uses; the compiler never keeps values there.
unsafe impl Tiles for Amx {
    #[inline(always)]
    unsafe fn begin() -> Self {
        // SAFETY: the configuration is valid; the caller has checked that the system allows tiles.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Self(())
    }

    #[inline(always)]
    unsafe fn end(&mut self) {
        // SAFETY: gives up what `begin` took.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }

    #[inline(always)]
    unsafe fn zero<const T: usize>(&mut self) {
        // SAFETY: see above.
        unsafe { asm!("tilezero tmm{t}", t = const T, options(nostack, nomem)) };
    }

    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tileloadd tmm{t}, [{from} + {stride}*1]", t = const T, from = in(reg) from, stride = in(reg) stride,
                options(nostack, readonly));
        }
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tilestored [{to} + {stride}*1], tmm{t}", t = const T, to = in(reg) to, stride = in(reg) stride,
                options(nostack));
        }
    }

    #[inline(always)]
    unsafe fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: registers only.
        unsafe {
            asm!("tdpbf16ps tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B, options(nostack, nomem));
        }
    }
}

/// Whether the processor has AMX with bf16 and the system lets this process use it.
pub(super) fn permitted() -> bool {
    cfg!(target_os = "linux") && has_instructions() && has_state() && request()
}

/// CPUID leaf 7: AMX-BF16 and AMX-TILE.
fn has_instructions() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // Safe functions in newer standard libraries, unsafe in older ones.
    #[allow(unused_unsafe)]
    // SAFETY: every x86-64 processor has the instruction.
    let edx = unsafe { if __cpuid(0).eax < 7 { 0 } else { __cpuid_count(7, 0).edx } };
    edx >> 22 & 1 == 1 && edx >> 24 & 1 == 1
}

/// Whether the system saves the state of tiles.
fn has_state() -> bool {
    if !std::arch::is_x86_feature_detected!("avx512f") {
        return false;
    }
    let (low, high): (u32, u32);
    // SAFETY: a processor with AVX-512 in use has XGETBV enabled.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nostack, nomem)) };
    let _ = high;
    low >> 17 & 3 == 3
}

/// Asks Linux for the permission to use tile data, for all threads of the process.
#[cfg(target_os = "linux")]
fn request() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XTILEDATA: i64 = 18;
    let mut answer = ARCH_PRCTL;
    // SAFETY: the call changes nothing but the permission.
    unsafe {
        asm!("syscall", inout("rax") answer, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XTILEDATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn request() -> bool {
    false
}
