#include "tensor/zero_blocks.h"

#include <cassert>
#include <cstring>

#include "base/aligned_buffer.h"

namespace cria {
namespace {

constexpr std::uint32_t kMagic = 0x4b425a43;  // "CZBK"
constexpr std::int64_t kMostGroups = 65536;   // their numbers have 16 bits

struct IndexEntry {
  std::uint64_t offset;
  std::uint32_t n_kept;
  std::uint32_t zero;
};

std::int64_t groups_of(std::int64_t n_cols) { return (n_cols + kColumnGroup - 1) / kColumnGroup; }

std::size_t numbers_bytes(std::size_t n_kept) { return align_up(2 * n_kept, kVectorAlignment); }

std::size_t panel_bytes(Encoding encoding, std::size_t n_kept) {
  if (n_kept == 0) return 0;
  const auto n_cols = static_cast<std::int64_t>(n_kept) * kColumnGroup;
  return numbers_bytes(n_kept) + panel_layout(encoding, n_cols).size_bytes;
}

IndexEntry entry_of(std::span<const std::byte> bytes, std::int64_t panel) {
  IndexEntry entry;
  std::memcpy(&entry,
              bytes.data() + kVectorAlignment + static_cast<std::size_t>(panel) * sizeof(entry),
              sizeof(entry));
  return entry;
}

// A column group of a panel to a place in another one.
void copy_group(const EncodingSpec& spec, const std::byte* from, std::int64_t from_group,
                std::byte* to, std::int64_t to_group) {
  std::memcpy(to + spec.codes_offset(to_group, 0), from + spec.codes_offset(from_group, 0),
              static_cast<std::size_t>(spec.group_bytes()));
  std::memcpy(to + spec.scales_offset(to_group, 0), from + spec.scales_offset(from_group, 0),
              static_cast<std::size_t>(spec.scale_bytes()));
}

}  // namespace

bool can_drop_zero_blocks(Encoding encoding, std::int64_t n_cols) {
  const EncodingSpec spec = encoding_spec(encoding);
  return !spec.dense() && spec.block == kColumnGroup && spec.scale != ScaleKind::kSuper &&
         !spec.has_min && groups_of(n_cols) <= kMostGroups;
}

std::vector<std::uint16_t> KeptBlocks::of_panel(std::int64_t panel) const {
  std::vector<std::uint16_t> groups;
  for (std::int64_t g = 0; g < n_groups; ++g) {
    if (kept[panel * n_groups + g] != 0) groups.push_back(static_cast<std::uint16_t>(g));
  }
  return groups;
}

std::size_t zero_blocks_index_bytes(std::int64_t n_panels) {
  return kVectorAlignment +
         align_up(static_cast<std::size_t>(n_panels) * sizeof(IndexEntry), kVectorAlignment);
}

std::size_t zero_blocks_bytes(Encoding encoding, const KeptBlocks& blocks) {
  std::size_t bytes = zero_blocks_index_bytes(blocks.n_panels);
  for (std::int64_t p = 0; p < blocks.n_panels; ++p) {
    bytes += panel_bytes(encoding, blocks.of_panel(p).size());
  }
  return bytes;
}

std::vector<std::byte> zero_blocks_index(Encoding encoding, const KeptBlocks& blocks) {
  std::vector<std::byte> out(zero_blocks_index_bytes(blocks.n_panels));
  const std::uint32_t header[2] = {kMagic, static_cast<std::uint32_t>(blocks.n_panels)};
  std::memcpy(out.data(), header, sizeof(header));
  std::uint64_t offset = out.size();
  for (std::int64_t p = 0; p < blocks.n_panels; ++p) {
    const std::size_t n_kept = blocks.of_panel(p).size();
    const IndexEntry entry = {offset, static_cast<std::uint32_t>(n_kept), 0};
    std::memcpy(out.data() + kVectorAlignment + static_cast<std::size_t>(p) * sizeof(entry), &entry,
                sizeof(entry));
    offset += panel_bytes(encoding, n_kept);
  }
  return out;
}

void drop_zero_blocks(Encoding encoding, std::span<const std::byte> panel,
                      std::span<const std::uint16_t> groups, std::vector<std::byte>& out) {
  if (groups.empty()) return;
  const EncodingSpec spec = encoding_spec(encoding);
  const std::size_t start = out.size();
  out.resize(start + panel_bytes(encoding, groups.size()));
  std::memcpy(out.data() + start, groups.data(), groups.size_bytes());
  std::byte* packed = out.data() + start + numbers_bytes(groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    copy_group(spec, panel.data(), groups[i], packed, static_cast<std::int64_t>(i));
  }
}

Result<ZeroBlocksView> ZeroBlocksView::open(Encoding encoding, std::int64_t n_rows,
                                            std::int64_t n_cols, std::span<const std::byte> bytes) {
  if (n_rows < 1 || n_cols < 1 || !can_drop_zero_blocks(encoding, n_cols)) {
    return bad_input("{} [{}, {}] cannot be without its zero blocks", encoding_spec(encoding).name,
                     n_rows, n_cols);
  }
  const std::int64_t n_panels = (n_rows - 1) / kPanelRows + 1;
  std::uint32_t header[2] = {};
  if (bytes.size() >= sizeof(header)) std::memcpy(header, bytes.data(), sizeof(header));
  if (header[0] != kMagic || header[1] != static_cast<std::uint64_t>(n_panels) ||
      bytes.size() < zero_blocks_index_bytes(n_panels)) {
    return bad_input("{} bytes do not start as {} panels without their zero blocks", bytes.size(),
                     n_panels);
  }
  const ZeroBlocksView view(encoding, n_cols, bytes);
  for (std::int64_t p = 0; p < n_panels; ++p) {
    CRIA_RETURN_IF_ERROR(view.check_panel(p, groups_of(n_cols)));
  }
  return view;
}

Status ZeroBlocksView::check_panel(std::int64_t index, std::int64_t n_groups) const {
  const IndexEntry entry = entry_of(bytes_, index);
  if (entry.n_kept > static_cast<std::uint64_t>(n_groups)) {
    return bad_input("panel {} keeps {} groups of {}", index, entry.n_kept, n_groups);
  }
  const std::size_t need = panel_bytes(encoding_, entry.n_kept);
  if (entry.offset % kVectorAlignment != 0 || entry.offset > bytes_.size() ||
      need > bytes_.size() - entry.offset) {
    return bad_input("panel {} has {} bytes at {}, the weight has {}", index, need, entry.offset,
                     bytes_.size());
  }
  std::int64_t last = -1;
  for (std::uint16_t group : panel(index).groups) {
    if (group <= last || group >= n_groups) {
      return bad_input("panel {} keeps group {} after {}, of {}", index, group, last, n_groups);
    }
    last = group;
  }
  return {};
}

ZeroBlocksView::Panel ZeroBlocksView::panel(std::int64_t index) const {
  const IndexEntry entry = entry_of(bytes_, index);
  const std::byte* start = bytes_.data() + entry.offset;
  return {{reinterpret_cast<const std::uint16_t*>(start), entry.n_kept},
          start + numbers_bytes(entry.n_kept)};
}

void ZeroBlocksView::fill_panel(std::int64_t index, std::span<std::byte> out) const {
  const EncodingSpec spec = encoding_spec(encoding_);
  assert(out.size() == panel_layout(encoding_, n_cols_).size_bytes);
  std::memset(out.data(), 0, out.size());  // scales of zero
  const Panel from = panel(index);
  for (std::size_t i = 0; i < from.groups.size(); ++i) {
    copy_group(spec, from.packed, static_cast<std::int64_t>(i), out.data(), from.groups[i]);
  }
}

}  // namespace cria
