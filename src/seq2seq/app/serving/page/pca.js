// Principal components: the two directions in which vectors differ most.

const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);

// The largest eigenvector of X'X by power iteration, started from the row that is farthest out.
function component(rows) {
  const start = rows.reduce((best, row) => (dot(row, row) > dot(best, best) ? row : best), rows[0]);
  let direction = start.slice();
  for (let turn = 0; turn < 200; turn++) {
    const next = new Array(direction.length).fill(0);
    for (const row of rows) {
      const along = dot(row, direction);
      for (let i = 0; i < next.length; i++) next[i] += along * row[i];
    }
    const length = Math.sqrt(dot(next, next));
    if (length < 1e-12) return direction.map(() => 0);
    const before = direction;
    direction = next.map((value) => value / length);
    if (Math.abs(1 - Math.abs(dot(before, direction))) < 1e-10) break;
  }
  return direction;
}

// (count, width) vectors -> { points: (count, 2), shares: how much of the variance each axis shows }.
export function pca(vectors) {
  const mean = vectors[0].map((_, i) => vectors.reduce((sum, row) => sum + row[i], 0) / vectors.length);
  let rows = vectors.map((row) => row.map((value, i) => value - mean[i]));
  const total = rows.reduce((sum, row) => sum + dot(row, row), 0) || 1;
  const axes = [];
  for (let axis = 0; axis < 2; axis++) {
    const direction = component(rows);
    const along = rows.map((row) => dot(row, direction));
    axes.push(along);
    rows = rows.map((row, n) => row.map((value, i) => value - along[n] * direction[i]));
  }
  return {
    points: vectors.map((_, n) => [axes[0][n], axes[1][n]]),
    shares: axes.map((along) => dot(along, along) / total),
  };
}
