/// Polynomial learning rate: `initial * (1 - epoch / epochs) ^ 0.9`, constant over an epoch.
pub fn poly_lr(initial: f64, epoch: usize, epochs: usize) -> f64 {
    if epochs == 0 {
        return initial;
    }
    initial * (1.0 - epoch.min(epochs) as f64 / epochs as f64).powf(0.9)
}

#[cfg(test)]
mod tests {
    use super::poly_lr;

    #[test]
    fn agrees_with_the_published_schedule() {
        for (epoch, expected) in
            [(0, 0.01), (1, 0.009_991_00), (50, 0.009_548_85), (500, 0.005_358_87), (999, 1.995_26e-5)]
        {
            assert!((poly_lr(0.01, epoch, 1000) - expected).abs() < 5e-9, "epoch {epoch}");
        }
    }

    #[test]
    fn follows_the_reference_run_of_twelve_epochs() {
        let reference = [
            0.01, 0.00925, 0.00849, 0.00772, 0.00694, 0.00616, 0.00536, 0.00455, 0.00372, 0.00287, 0.00199,
            0.00107,
        ];
        for (epoch, expected) in reference.into_iter().enumerate() {
            assert!((poly_lr(0.01, epoch, 12) - expected).abs() < 5.1e-6, "epoch {epoch}");
        }
    }
}
