// Labels on a canvas that do not cover one another.

const ROUNDS = 20;

/**
 * Where labels stand: each at its place, moved up or down where two would overlap.
 * Takes and gives [{ x, y, width, ... }] with the middle of each; all are `height` high.
 */
export function spread(labels, height) {
  const placed = labels.map((label) => ({ ...label })).sort((a, b) => a.y - b.y);
  for (let round = 0; round < ROUNDS; round += 1) {
    let moved = false;
    for (const [row, upper] of placed.entries()) {
      for (const lower of placed.slice(row + 1)) {
        const overlap = height - (lower.y - upper.y);
        if (overlap <= 0.5 || Math.abs(lower.x - upper.x) >= (upper.width + lower.width) / 2) continue;
        upper.y -= overlap / 2;
        lower.y += overlap / 2;
        moved = true;
      }
    }
    if (!moved) break;
  }
  return placed;
}
