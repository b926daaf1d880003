#include "quantize/output_error.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "quantize/factor_product.h"
#include "quantize/matmul.h"
#include "quantize/row_group.h"

namespace cria {
namespace {

// sum_k s[i][k] x[k][r] for i in [0, n_rows): `s` rows s_stride apart, `x` and `out` [.][n_lanes].
void multiply_into(const float* s, std::int64_t s_stride, std::int64_t n_rows, const float* x,
                   std::int64_t n_k, std::int64_t n_lanes, std::vector<float>& out) {
  out.assign(n_rows * n_lanes, 0.0f);
  MatmulArgs args;
  args.a = s;
  args.a_row_stride = s_stride;
  args.a_col_stride = 1;
  args.b = x;
  args.b_stride = args.c_stride = args.n_cols = n_lanes;
  args.c = out.data();
  args.n_rows = n_rows;
  args.n_k = n_k;
  matmul(args);
}

double dot(const float* a, const float* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// The sums of all groups of rows, in their order.
template <typename OfGroup>
double sum_of_groups(std::int64_t n_rows, ThreadPool& pool, const OfGroup& of_group) {
  std::vector<double> sums(group_count(n_rows));
  pool.parallel_for(static_cast<std::int64_t>(sums.size()),
                    [&](std::int64_t g, int) { sums[g] = of_group(row_group(n_rows, g)); });
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum;
}

}  // namespace

double output_square(const Matrix& rows, const Matrix& hessian, ThreadPool& pool) {
  assert(rows.n_cols == hessian.n_cols && rows.n_cols == hessian.n_rows);
  const std::int64_t n = rows.n_cols;
  return sum_of_groups(rows.n_rows, pool, [&](const RowGroup& group) {
    const std::int64_t n_lanes = group.n_lanes();
    std::vector<float> x(n * n_lanes), product;
    load_transposed(
        rows, group, 0, n, [](std::int64_t p) { return p; }, x.data());
    double sum = 0;
    for (std::int64_t first = 0; first < n; first += kHessianBlock) {
      // Once for the square on the diagonal, twice for what is right of it.
      const std::int64_t n_rows = std::min(kHessianBlock, n - first), rest = first + n_rows;
      const float* h = hessian.values.data() + first * n;
      const float* own = x.data() + first * n_lanes;
      multiply_into(h + first, n, n_rows, own, n_rows, n_lanes, product);
      sum += dot(product.data(), own, n_rows * n_lanes);
      multiply_into(h + rest, n, n_rows, x.data() + rest * n_lanes, n - rest, n_lanes, product);
      sum += 2 * dot(product.data(), own, n_rows * n_lanes);
    }
    return sum;
  });
}

double output_square(const Matrix& rows, const HessianFactor& factor, ThreadPool& pool) {
  assert(rows.n_cols == factor.n_cols());
  const std::int64_t n = rows.n_cols;
  return sum_of_groups(rows.n_rows, pool, [&](const RowGroup& group) {
    const std::int64_t n_lanes = group.n_lanes();
    std::vector<float> x(factor.n_positions() * n_lanes), product(kHessianBlock * n_lanes);
    load_transposed(
        rows, group, 0, n, [&](std::int64_t p) { return factor.column_at(p); }, x.data());
    double sum = 0;
    for (std::int64_t block = 0; block < factor.n_blocks(); ++block) {
      const std::int64_t first = block * kHessianBlock;
      std::fill(product.begin(), product.end(), 0.0f);
      add_factor_product(factor, {block, block, factor.n_blocks()}, x.data() + first * n_lanes,
                         n_lanes, product.data());
      sum += dot(product.data(), product.data(), kHessianBlock * n_lanes);
    }
    return sum - static_cast<double>(factor.added()) * dot(x.data(), x.data(), n * n_lanes);
  });
}

}  // namespace cria
