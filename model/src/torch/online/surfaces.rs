//! Cost of settings in a condition, interpolated between measured ones.

use super::Judged;
use super::setting::{AXES, PlaneSetting};

/// Nodes of a grid, evenly spaced on each axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// First node.
    pub least: [f64; AXES],
    /// Distance of nodes, above 0.
    pub step: [f64; AXES],
    /// Nodes on each axis, at least 1.
    pub nodes: [usize; AXES],
}

impl Grid {
    /// Targets of 1.5 to 30 ms and gains of 0.8 to 16: the grid for measuring
    /// fixed settings.
    pub fn of_settings() -> Grid {
        Grid {
            least: [1.5f64.ln(), 0.8f64.ln()],
            step: [0.5, 1.0],
            nodes: [7, 4],
        }
    }

    /// One step in each direction from an action.
    pub fn around(step: [f64; AXES]) -> Grid {
        Grid {
            least: step.map(|step| -step),
            step,
            nodes: [3; AXES],
        }
    }

    /// All nodes, with the second axis varying fastest.
    pub fn settings(&self) -> Vec<PlaneSetting> {
        let [columns, rows] = self.nodes;
        let at = |axis: usize, i: usize| self.least[axis] + self.step[axis] * i as f64;
        let node = |i: usize, j: usize| PlaneSetting {
            axes: [at(0, i), at(1, j)],
        };
        let column = |i| (0..rows).map(move |j| node(i, j));
        (0..columns).flat_map(column).collect()
    }
}

/// Costs of a condition's settings at the nodes of a grid, with interpolation
/// in between.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Surfaces {
    /// [`Judged::delay`].
    pub delay: Vec<f32>,
    /// [`Judged::moderated_loss`].
    pub loss: Vec<f32>,
    /// [`Judged::harm`].
    pub harm: Vec<f32>,
}

impl Surfaces {
    /// Surfaces from a run at each node, smoothed by a Gaussian with a width
    /// of `width` nodes, since the noise of single runs is independent of their
    /// neighbours'.
    pub fn smoothed(grid: &Grid, runs: &[Judged], nodes: f64) -> Surfaces {
        let rows = grid.nodes[1];
        let distance = |a: usize, b: usize| {
            let (x, y) = ((a / rows).abs_diff(b / rows), (a % rows).abs_diff(b % rows));
            (x * x + y * y) as f64
        };
        let smooth = |of: fn(&Judged) -> f64, at: usize| {
            let (mut sum, mut weights) = (0.0, 0.0);
            for (other, run) in runs.iter().enumerate() {
                let weight = (-distance(at, other) / (2.0 * nodes * nodes)).exp();
                sum += weight * of(run);
                weights += weight;
            }
            (sum / weights) as f32
        };
        let surface = |of| (0..runs.len()).map(|at| smooth(of, at)).collect();
        Surfaces {
            delay: surface(|run| run.delay),
            loss: surface(Judged::moderated_loss),
            harm: surface(|run| run.harm),
        }
    }

    /// Surfaces around a run of a policy on a grid of [`Grid::around`], from
    /// that run and those with one step less and more on each axis; the effects
    /// of the axes add up.
    pub fn around(own: &Judged, axes: &[[Judged; 2]; AXES]) -> Surfaces {
        let surface = |of: fn(&Judged) -> f64| {
            let centre = of(own);
            let [x, y] = axes.map(|[less, more]| [of(&less) - centre, 0.0, of(&more) - centre]);
            let column = |dx: f64| y.map(move |dy| (centre + dx + dy) as f32);
            x.into_iter().flat_map(column).collect()
        };
        Surfaces {
            delay: surface(|run| run.delay),
            loss: surface(Judged::moderated_loss),
            harm: surface(|run| run.harm),
        }
    }

    /// [`Judged::cost`] of a setting, interpolated between nodes; outside of the
    /// grid it is that of the edge.
    pub fn cost(
        &self,
        grid: &Grid,
        setting: PlaneSetting,
        budget: f64,
        caution: f64,
        margin: f64,
    ) -> f64 {
        let along = |axis: usize| {
            let last = (grid.nodes[axis] - 1) as f64;
            let at = (setting.axes[axis] - grid.least[axis]) / grid.step[axis];
            let at = at.clamp(0.0, last);
            let below = at.floor().min((last - 1.0).max(0.0));
            (below as usize, at - below)
        };
        let ([i, j], [x, y]) = {
            let ((i, x), (j, y)) = (along(0), along(1));
            ([i, j], [x, y])
        };
        let rows = grid.nodes[1];
        let at = |of: &[f32]| {
            let node = |i: usize, j: usize| match of.get(i * rows + j) {
                Some(value) if j < rows => f64::from(*value),
                // Beyond the last node, whose weight is 0.
                _ => 0.0,
            };
            (1.0 - x) * ((1.0 - y) * node(i, j) + y * node(i, j + 1))
                + x * ((1.0 - y) * node(i + 1, j) + y * node(i + 1, j + 1))
        };
        let over = (at(&self.loss) / budget - margin).max(0.0);
        at(&self.delay) + at(&self.harm) + caution * over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_match_surface_order() {
        let grid = Grid::of_settings();
        let settings = grid.settings();
        assert_eq!(settings.len(), 28);
        assert_eq!(settings[0].axes, grid.least);
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} {want}");
        near(settings[1].axes[1], grid.least[1] + 1.0);
        near(settings[4].axes[0], grid.least[0] + 0.5);
        near(settings[27].axes[0].exp(), 1.5 * 3f64.exp());
        near(settings[27].axes[1].exp(), 0.8 * 3f64.exp());
    }

    #[test]
    fn smoothing_spreads_noise_and_preserves_constants() {
        let grid = Grid::of_settings();
        let mut runs = vec![
            Judged {
                delay: -0.5,
                ..Judged::default()
            };
            28
        ];
        let flat = Surfaces::smoothed(&grid, &runs, 0.45);
        assert!(flat.delay.iter().all(|x| (x + 0.5).abs() < 1e-6));
        runs[13].harm = 1.0;
        let surfaces = Surfaces::smoothed(&grid, &runs, 0.45);
        let [own, next, next_target, far] = [13, 14, 9, 2].map(|i| surfaces.harm[i]);
        assert!(own < 0.9 && own > 2.0 * next, "{own} {next}");
        assert!(next > 0.02 && (next - next_target).abs() < 0.02 && far < 1e-4);
    }

    #[test]
    fn cost_is_linear_between_nodes() {
        let grid = Grid::of_settings();
        let runs: Vec<Judged> = (0..28)
            .map(|at| Judged {
                delay: f64::from(at),
                loss: -0.1,
                harm: 0.5,
            })
            .collect();
        let surfaces = Surfaces::smoothed(&grid, &runs, 1e-3);
        let cost = |axes| surfaces.cost(&grid, PlaneSetting { axes }, 0.005, 0.6, 0.6);
        for (at, node) in grid.settings().into_iter().enumerate() {
            assert!((cost(node.axes) - (at as f64 + 0.5)).abs() < 1e-5, "{at}");
        }
        // A step of the target is four nodes, one of the gain one.
        let [x, y] = grid.settings()[5].axes;
        assert!((cost([x + 0.25, y + 0.5]) - 8.0).abs() < 1e-5);
        assert_eq!(cost([x - 9.0, y]), cost([grid.least[0], y]));
        assert!((cost([x + 9.0, y + 9.0]) - 27.5).abs() < 1e-5);
        // Losses beyond the margin of the budget cost.
        let lossy = Surfaces {
            loss: vec![0.005; 28],
            ..surfaces
        };
        let node = grid.settings()[0];
        let got = lossy.cost(&grid, node, 0.005, 0.6, 0.5);
        assert!((got - (0.5 + 0.6 * 0.5)).abs() < 1e-5, "{got}");
    }

    #[test]
    fn surfaces_around_a_run_are_the_nearest() {
        let with = |delay| Judged {
            delay,
            ..Judged::default()
        };
        let axes = [[with(1.5), with(0.5)], [with(0.75), with(1.0)]];
        let surfaces = Surfaces::around(&with(1.0), &axes);
        let want = [1.25, 1.5, 1.5, 0.75, 1.0, 1.0, 0.25, 0.5, 0.5];
        assert_eq!(surfaces.delay, want);
    }
}
