// Finding the encoding of each matrix so that the program has at most so many bytes and loses as
// little as it can.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cria/status.h"
#include "cria/toolchain.h"

namespace cria {

struct BudgetOptions {
  // Exactly one of the two:
  std::uint64_t file_bytes = 0;  // of the program
  double bits_per_weight = 0;    // of its matrices, scales included
  std::string text;              // what the matrices are measured on
  std::int64_t n_ctx = 128;      // tokens a window
  std::int64_t n_windows = 2;    // at most, spread over the text
};

// A way to store a matrix, or all of them.
struct BudgetChoice {
  std::string encoding;
  std::uint64_t size_bytes = 0;  // in the file
  double kl = 0;                 // what it costs, nats a token; an estimate that adds up
};

struct BudgetTensor {
  std::string name;
  std::int64_t n_weights = 0;
  BudgetChoice chosen;
  BudgetChoice smallest;             // of all choices
  std::optional<BudgetChoice> less;  // the next smaller one
  std::optional<BudgetChoice> more;  // the next larger one

  // KL saved with each byte beyond the smallest choice; 0: it is the smallest.
  double kl_saved_per_byte() const {
    if (chosen.size_bytes == smallest.size_bytes) return 0;
    return (smallest.kl - chosen.kl) / static_cast<double>(chosen.size_bytes - smallest.size_bytes);
  }
};

struct BudgetReport {
  std::uint64_t budget_bytes = 0;
  std::uint64_t file_bytes = 0;      // of the program, at most
  std::uint64_t overhead_bytes = 0;  // of it what is no matrix, at most
  double kl = 0;                     // the sum over tensors
  double seconds = 0;
  std::vector<BudgetTensor> tensors;  // matrices
  std::vector<BudgetChoice> uniform;  // the whole file, were all matrices in one encoding
  std::string recipe_text;            // a recipe file (docs/recipes.md) that gives this program
};

// Measures what each matrix is worth: the KL of the output when it alone is in about 4 bits, scaled
// to other encodings by the errors of their weights; then finds the encodings with the smallest sum
// among all that fit, exactly. `options.recipe` is a name, whose methods are kept and whose
// encodings are not. Passes over the model: seven conversions, and for each matrix one over the
// text, from that matrix to the end. Programs without a name lie on the disk of `scratch_path`
// meanwhile. Deterministic. kInvalidArgument: no such budget, or not even the smallest choices fit,
// with what they need; kUnsupported: matrices that are in codes already; pins (a model that two
// devices share).
Result<BudgetReport> fit_budget(const CompileOptions& options, const BudgetOptions& budget,
                                const std::string& scratch_path);

}  // namespace cria
