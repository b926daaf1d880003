// The compiler's side of a device: what it can run and how a method is turned into its blob.
//
// A device is added as a folder of targets/ that implements this (clone targets/null) and a folder
// of delegates/ that runs the blobs. The compiler knows no target but through this interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "ir/graph.h"
#include "tensor/device_tiles.h"
#include "tensor/encoding.h"
#include "tensor/kv_layout.h"

namespace cria {

// Whether a target takes an op; if not, why, in a few words ("no kernel", "width above 8192").
struct Support {
  bool supported = false;
  std::string reason;  // empty when supported
};

struct TargetLimits {
  std::int64_t max_tokens = 0;      // tokens a call may bring
  std::uint64_t scratch_bytes = 0;  // activations of one method
};

// A weight of a compiled method: a named data segment that the compiler writes.
struct TargetWeight {
  std::string key;   // of the named data; the same key in several methods is the same segment
  std::string name;  // canonical name of the weight
  Encoding encoding = Encoding::kF32;
  bool packed = true;  // panels (tensor/encoding.h); else a plain float32 vector
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  DeviceTiles tiles;  // the order of packed panels; the default: as they are
  bool operator==(const TargetWeight&) const = default;
};

// The cache that a method reads and writes. What it looks like inside is the target's own.
struct TargetCache {
  std::uint64_t bytes_per_position = 0;
  std::int64_t granularity = 1;  // the number of positions is a multiple of this
  bool operator==(const TargetCache&) const = default;
};

// What one more delegate runs of a method.
struct CompiledPart {
  std::string delegate_id;
  std::vector<std::byte> blob;
  std::vector<std::pair<std::string, std::string>> compile_specs;
  std::vector<std::size_t> after;  // earlier parts that it waits for; the method's own blob is 0
};

struct CompiledMethod {
  std::string delegate_id;  // the name of the delegate that runs the blob
  std::vector<std::byte> blob;
  std::vector<std::pair<std::string, std::string>> compile_specs;  // handed to the delegate
  std::vector<CompiledPart> then;   // of a method that devices share: run behind it, in this order
  std::uint64_t scratch_bytes = 0;  // memory that the runtime lends for activations
  TargetCache cache;
  std::int64_t n_vocab = 0;
  std::vector<TargetWeight> weights;
};

struct MethodRequest {
  std::int64_t max_tokens = 1;     // tokens a call may bring
  std::int64_t max_context = 0;    // positions that a cache may have; 0: not known
  std::string activations = "a8";  // "a8" or "a16"
  KvType k_type = KvType::kF16;
  KvType v_type = KvType::kF16;
  // Attention as three ops, scores, softmax, mix, which devices can share; 2: those of each half of
  // the heads, so that devices work at once, where a call brings several tokens. Needs max_context.
  int split_attention = 0;
  // The encoding of a weight matrix, by the recipe. Vectors (one row) stay float32.
  std::function<Encoding(const ir::Weight&)> encoding_of;
};

// Thread-safety: const methods are safe from any thread.
class Target {
 public:
  virtual ~Target() = default;

  virtual const char* name() const = 0;  // "cpu"
  virtual TargetLimits limits() const = 0;
  virtual Support supports(const ir::Graph& graph, const ir::Op& op) const = 0;
  virtual Support supports(Encoding encoding) const = 0;
  // Whether its delegate reads matrices without their zero blocks (tensor/zero_blocks.h), and pairs
  // (tensor/pairs.h) in place of the plain codes that a recipe asks for.
  virtual bool takes_sparse() const { return false; }

  // A whole method, lowered and verified, as a blob. kUnsupported names the first op that the
  // target does not take and the reason. Deterministic.
  virtual Result<CompiledMethod> compile(const ir::Graph& graph,
                                         const MethodRequest& request) const = 0;
};

}  // namespace cria
