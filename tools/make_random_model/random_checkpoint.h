// A checkpoint that is nowhere but in memory: random weights, the same ones every time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "model/checkpoint.h"
#include "model_shape.h"
#include "tensor/storage_type.h"

namespace cria {

// Memory: that of the largest matrix. All matrices are windows into one field of random blocks,
// each from another place on.
// Zeros to put into the matrices of the layers.
struct RandomZeros {
  double block_share = 0;    // of the blocks of 16 rows and 32 columns, in whole thousandths
  bool two_in_four = false;  // floats only
  bool any() const { return block_share > 0 || two_in_four; }
};

class RandomCheckpoint : public Checkpoint {
 public:
  // Layers are stored as `type`; the embedding as well if that is a float type, else as Q8_0, as
  // recipes do it. `tokenizer_path`: a tokenizer to bring along, or empty.
  static Result<std::unique_ptr<RandomCheckpoint>> create(const ModelShape& shape, StorageType type,
                                                          const std::string& tokenizer_path,
                                                          const RandomZeros& zeros = {});

 private:
  RandomCheckpoint() = default;
  std::span<const std::byte> window(StorageType type, std::int64_t n_rows, std::int64_t n_cols);

  // A field of blocks of one type, as long as is needed of it.
  struct Field {
    StorageType type;
    AlignedBuffer memory;
    std::size_t n_windows = 0;
  };
  Status add_field(StorageType type, std::int64_t largest_elements);
  // The same bytes with zeros; matrices of one shape share them.
  Result<std::span<const std::byte>> with_zeros(const StoredWeight& weight,
                                                const RandomZeros& zeros);
  std::map<std::pair<std::int64_t, std::int64_t>, AlignedBuffer> zeroed_;
  std::vector<Field> fields_;
  std::vector<std::byte> gains_;
};

}  // namespace cria
