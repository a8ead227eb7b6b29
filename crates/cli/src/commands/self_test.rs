//! A table of operations: how far from the reference, and how fast.

use anyhow::{Result, bail};
use nnunet::{SelfCheck, SelfTestEvent};

use crate::args::SelfTestArgs;
use crate::commands::parse_device;
use crate::ui::Ui;

pub(crate) fn self_test(args: &SelfTestArgs, ui: Ui) -> Result<()> {
    let spec = parse_device(&args.device)?;
    let mut count = 0;
    let failed = nnunet::self_test(&spec, &mut |event| match event {
        SelfTestEvent::Device(message) => {
            ui.say(message);
            println!(
                "{:<42} {:<22} {:>9} {:>9} {:>11} {:>16}",
                "operation", "shape", "deviation", "allowed", "time", "speed"
            );
        }
        SelfTestEvent::Checked(check) => {
            count += 1;
            println!("{}", line(check));
        }
    })?;
    if failed > 0 {
        bail!("{failed} of {count} operations are further from the reference than allowed");
    }
    println!("all {count} operations agree with the reference");
    Ok(())
}

fn line(check: &SelfCheck) -> String {
    let time = format!("{:.3} ms", check.time.as_secs_f64() * 1e3);
    format!(
        "{:<42} {:<22} {:>9.1e} {:>9.0e} {:>11} {:>16}  {}",
        check.operation,
        check.shape,
        check.error,
        check.tolerance,
        time,
        check.rate.to_string(),
        if check.passed() { "ok" } else { "FAILED" }
    )
}
