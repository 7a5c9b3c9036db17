// What the pipeline does to pixels and to means on a CUDA device. `host_kernels.py` does the same in numpy, and
// `kernels.py` describes the arguments and structures for Python; tests compile this file for the CPU and compare.
//
// A picture is [height, width, channels] of uint8, uint16 or float32 in [0, 1] (`kind` 0, 1 or 2), its rows `pitch`
// bytes apart. It has 3 or 4 channels, RGB or BGR first (`bgr`); a fourth channel (alpha) is copied from the source to
// the result. A batch is what an engine takes, RGB: float32 [N,3,H,W] (`planar`), or uint8 [N,H,W,3]. An index past a
// picture's edge mirrors the picture without repeating the last pixel; where the picture is too short for that, the
// last pixel is repeated. That is the padding up to the network's size multiple.

typedef unsigned char u8;
typedef unsigned short u16;

struct Origin { int row, col; };  // where a tile begins in the padded picture
// Where a core begins in its tile (row, col) and in the picture (to_row, to_col), and its size.
struct Core { int row, col, to_row, to_col, height, width; };

static __device__ int mirrored(int index, int length, int padded)
{
    const int last = length - 1;
    if (padded - length > last) return index < last ? index : last;
    return index > last ? 2 * last - index : index;
}

static __device__ float load(const u8 *row, int element, int kind)
{
    if (kind == 0) return row[element];
    if (kind == 1) return reinterpret_cast<const u16 *>(row)[element];
    return reinterpret_cast<const float *>(row)[element];
}

static __device__ void store(u8 *row, int element, int kind, float value)
{
    if (kind == 0) row[element] = static_cast<u8>(value);
    else if (kind == 1) reinterpret_cast<u16 *>(row)[element] = static_cast<u16>(value);
    else reinterpret_cast<float *>(row)[element] = value;
}

static __device__ float white_of(int kind)
{
    return kind == 0 ? 255.0f : kind == 1 ? 65535.0f : 1.0f;
}

// Cuts tiles out of a picture into a batch. Grid: columns, rows and number of tiles.
extern "C" __global__ void cut(const u8 *picture, long long pitch, int height, int width, int channels, int kind,
                               int bgr, int padded_height, int padded_width, const Origin *origins, u8 *batch,
                               int planar, int tile_height, int tile_width)
{
    const int col = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const int tile = blockIdx.z;
    if (col >= tile_width || row >= tile_height) return;
    const u8 *line = picture + pitch * mirrored(origins[tile].row + row, height, padded_height);
    const int first = channels * mirrored(origins[tile].col + col, width, padded_width);
    const long long area = static_cast<long long>(tile_height) * tile_width;
    const long long place = static_cast<long long>(row) * tile_width + col;
    for (int channel = 0; channel < 3; ++channel) {
        const float value = load(line, first + (bgr ? 2 - channel : channel), kind);
        if (planar) reinterpret_cast<float *>(batch)[(3 * tile + channel) * area + place] = value / white_of(kind);
        else batch[(tile * area + place) * 3 + channel] = static_cast<u8>(value);
    }
}

// Puts the cores of tiles into a picture. Grid: columns and rows of the largest core, number of tiles. The part of a
// core that lies in the padding is left out. Floats are clipped to [0, 1], and rounded for a picture of integers. NaN
// and infinite values are counted in `flaws`; a NaN is stored as 0.
extern "C" __global__ void put(const u8 *batch, int planar, int tile_height, int tile_width, const Core *cores,
                               const u8 *source, long long source_pitch, u8 *picture, long long pitch, int height,
                               int width, int channels, int kind, int bgr, int *flaws)
{
    const int col = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const int tile = blockIdx.z;
    const Core core = cores[tile];
    const int to_row = core.to_row + row, to_col = core.to_col + col;
    if (row >= core.height || col >= core.width || to_row >= height || to_col >= width) return;
    const long long area = static_cast<long long>(tile_height) * tile_width;
    const long long place = static_cast<long long>(core.row + row) * tile_width + core.col + col;
    u8 *line = picture + pitch * to_row;
    for (int channel = 0; channel < 3; ++channel) {
        const int element = channels * to_col + (bgr ? 2 - channel : channel);
        if (!planar) {
            line[element] = batch[(tile * area + place) * 3 + channel];
            continue;
        }
        float value = reinterpret_cast<const float *>(batch)[(3 * tile + channel) * area + place];
        if (!isfinite(value)) atomicAdd(flaws, 1);
        value = fminf(fmaxf(value, 0.0f), 1.0f);
        store(line, element, kind, kind == 2 ? value : rintf(value * white_of(kind)));
    }
    if (channels == 4)
        store(line, 4 * to_col + 3, kind, load(source + source_pitch * to_row, 4 * to_col + 3, kind));
}

// Averages a picture over small_height x small_width equal areas. The result `small` is RGB, of 3 channels and of
// kind 0 or 2. Grid: its columns and rows.
extern "C" __global__ void shrink(const u8 *picture, long long pitch, int height, int width, int channels, int kind,
                                  int bgr, u8 *small, long long small_pitch, int small_height, int small_width,
                                  int small_kind)
{
    const int col = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (col >= small_width || row >= small_height) return;
    const double tall = static_cast<double>(height) / small_height, wide = static_cast<double>(width) / small_width;
    const double top = row * tall, left = col * wide, bottom = top + tall, right = left + wide;
    float sums[3] = {0.0f, 0.0f, 0.0f};
    for (int y = static_cast<int>(top); y < bottom && y < height; ++y) {
        const float share = static_cast<float>(fmin(y + 1.0, bottom) - fmax(static_cast<double>(y), top));
        const u8 *line = picture + pitch * y;
        for (int x = static_cast<int>(left); x < right && x < width; ++x) {
            const float weight = share * static_cast<float>(fmin(x + 1.0, right) - fmax(static_cast<double>(x), left));
            for (int channel = 0; channel < 3; ++channel)
                sums[channel] += weight * load(line, channels * x + (bgr ? 2 - channel : channel), kind);
        }
    }
    const float scale = 1.0f / (static_cast<float>(tall * wide) * white_of(kind));
    for (int channel = 0; channel < 3; ++channel) {
        const float mean = fminf(sums[channel] * scale, 1.0f);
        store(small + small_pitch * row, 3 * col + channel, small_kind,
              small_kind == 2 ? mean : rintf(mean * white_of(small_kind)));
    }
}

// The guess of a picture's means, [size]: what its thumbnail measured plus the defect.
extern "C" __global__ void correct(const float *measured, const float *defect, float *context, int size)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < size) context[k] = measured[k] + defect[k];
}

// What must be added to a thumbnail's means, `measured` [size], to get its picture's: the mean of what `tiles` tiles
// measured, `statistics` [tiles,size], weighted by the areas of their cores, minus `measured`.
extern "C" __global__ void defect(const float *statistics, const Core *cores, int tiles, const float *measured,
                                  float *defect, int size)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= size) return;
    double total = 0.0, area = 0.0;
    for (int tile = 0; tile < tiles; ++tile) {
        const double core = static_cast<double>(cores[tile].height) * cores[tile].width;
        total += core * statistics[static_cast<long long>(tile) * size + k];
        area += core;
    }
    defect[k] = static_cast<float>(total / area - measured[k]);
}
