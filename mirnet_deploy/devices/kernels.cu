// What the pipeline does to pixels and to means on a CUDA device. `host_kernels.py` does the same in numpy, and
// `arguments.py` describes the arguments and structures for Python; tests compile this file for the CPU and compare.
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

// What is known of a result without the host; see `REPORT`.
struct Report { double low, high; unsigned long long squares; float largest; int flaws; };

// The largest gain of a tone curve; its inverse is the smallest. Gains that are tried at once, and parts of the histogram.
static const double MOST_GAIN = 256.0;
static const int BINS = 1 << 16, CANDIDATES = 64, PARTS = 64;

// Sets `size` integers to 0.
extern "C" __global__ void clear(int *values, int size)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < size) values[index] = 0;
}

// Counts the NaN and infinite ones among `size` values.
extern "C" __global__ void check(const float *values, int size, int *flaws)
{
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < size && !isfinite(values[index])) atomicAdd(flaws, 1);
}

// Adds the values of a picture's first three channels to a histogram of BINS bins. Grid: columns and rows.
extern "C" __global__ void count(const u8 *picture, long long pitch, int height, int width, int channels, int kind,
                                 unsigned *bins)
{
    const int col = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (col >= width || row >= height) return;
    const u8 *line = picture + pitch * row;
    for (int channel = 0; channel < 3; ++channel) {
        const float value = load(line, channels * col + channel, kind) / white_of(kind);
        atomicAdd(bins + static_cast<int>(rintf(value * (BINS - 1))), 1u);
    }
}

static __device__ double low_of(const Report *report)
{
    return report->low == report->high ? -log(MOST_GAIN) : report->low;
}

static __device__ double high_of(const Report *report)
{
    return report->low == report->high ? log(MOST_GAIN) : report->high;
}

// The logarithm of the gain that is tried as number `candidate`; -1 and CANDIDATES are the bounds.
static __device__ double tried(const Report *report, int candidate)
{
    const double low = low_of(report), high = high_of(report);
    return low + (high - low) * (candidate + 1) / (CANDIDATES + 1);
}

static __device__ float curved(float value, double gain)
{
    return static_cast<float>(gain) * value / (1.0f + static_cast<float>(gain - 1.0) * value);
}

// For every gain that is tried, the sums of what the tone curve makes of the values in each part of the histogram,
// [CANDIDATES,PARTS]. Grid: gains and parts.
extern "C" __global__ void weigh(const unsigned *bins, const Report *report, double *sums)
{
    const int candidate = blockIdx.x * blockDim.x + threadIdx.x, part = blockIdx.y * blockDim.y + threadIdx.y;
    if (candidate >= CANDIDATES || part >= PARTS) return;
    const double gain = exp(tried(report, candidate));
    double sum = 0.0;
    for (int bin = part * (BINS / PARTS); bin < (part + 1) * (BINS / PARTS); ++bin)
        if (bins[bin]) sum += bins[bin] * static_cast<double>(curved(static_cast<float>(bin / (BINS - 1.0)), gain));
    sums[candidate * PARTS + part] = sum;
}

// Moves the bounds to the two neighbouring gains between which the sum of all values becomes `wanted`. One thread.
extern "C" __global__ void narrow(const double *sums, double wanted, Report *report)
{
    int below = -1, above = CANDIDATES;  // the sum is less than wanted at `below`, and not at `above`
    while (above - below > 1) {
        const int middle = (below + above) / 2;
        double sum = 0.0;
        for (int part = 0; part < PARTS; ++part) sum += sums[middle * PARTS + part];
        if (sum < wanted) below = middle;
        else above = middle;
    }
    const double low = tried(report, below), high = tried(report, above);
    report->low = low;
    report->high = high;
}

// Writes the network's result into a picture: through the tone curve of the report's gain if `curve`, and blended with
// the source by `strength`. Result and picture may be one. Grid: columns and rows.
extern "C" __global__ void tone(const u8 *result, long long result_pitch, int result_channels, int result_kind,
                                int result_bgr, const u8 *source, long long source_pitch, u8 *picture,
                                long long pitch, int height, int width, int channels, int kind, int bgr,
                                const Report *report, int curve, double strength)
{
    const int col = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (col >= width || row >= height) return;
    const double gain = curve ? exp((report->low + report->high) / 2.0) : 1.0;
    const float share = static_cast<float>(strength);
    const u8 *made = result + result_pitch * row, *before = source + source_pitch * row;
    u8 *line = picture + pitch * row;
    for (int channel = 0; channel < 3; ++channel) {
        const int element = channels * col + (bgr ? 2 - channel : channel);
        const int from = result_channels * col + (result_bgr ? 2 - channel : channel);
        float value = load(made, from, result_kind) / white_of(result_kind);
        if (curve) value = curved(value, gain);
        if (share != 1.0f) {
            const float old = load(before, element, kind) / white_of(kind);
            value = old + share * (value - old);
        }
        value = fminf(fmaxf(value, 0.0f), 1.0f);
        store(line, element, kind, kind == 2 ? value : rintf(value * white_of(kind)));
    }
    if (channels == 4) store(line, 4 * col + 3, kind, load(before, 4 * col + 3, kind));
}

// Adds up the squared differences of two pictures in units of 2^-42, as whole numbers, and finds the largest one. Grid:
// columns and rows.
extern "C" __global__ void differ(const u8 *picture, long long pitch, int height, int width, int channels, int kind,
                                  int bgr, const u8 *other, long long other_pitch, Report *report)
{
    const int col = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (col >= width || row >= height) return;
    const u8 *one = picture + pitch * row, *two = other + other_pitch * row;
    unsigned long long squares = 0;
    float largest = 0.0f;
    for (int channel = 0; channel < 3; ++channel) {
        const int element = channels * col + (bgr ? 2 - channel : channel);
        const float a = load(one, element, kind) / white_of(kind), b = load(two, element, kind) / white_of(kind);
        const double difference = static_cast<double>(a) - b;
        squares += static_cast<unsigned long long>(rint(difference * difference * 4398046511104.0));
        largest = fmaxf(largest, static_cast<float>(fabs(difference)));
    }
    atomicAdd(&report->squares, squares);
    atomicMax(reinterpret_cast<int *>(&report->largest), __float_as_int(largest));  // floats above 0 order as integers
}
