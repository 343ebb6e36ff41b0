"""Prints float64s as bits in hexadecimal with Python's repr of them."""
import math, random, struct

random.seed(20150306)
values = [0.0, -0.0, 1.0, -1.0, 60.0, 0.2, 43.1, 0.1 + 0.2, 1 / 3, 2 / 3, 1e22, 1e23, 5e-324, 1.7976931348623157e308,
          2.2250738585072014e-308, 9007199254740993.0, 1e15, 1e16, 1e17, 123456789012345680.0, 1e-3, 1e-4, 1e-5, 1e-7,
          0.0001, 0.00012345, 9.999e-05, 999999999999.999, 1e12, 1000000000000.001, 0.001, 0.0005, 0.0015, 4.35, 1.005]
values += [round(random.uniform(-1e6, 1e6), random.randrange(6)) for _ in range(150)]
values += [random.gauss(50, 10) for _ in range(100)]
values += [float(random.randrange(1 << random.randrange(1, 64))) for _ in range(80)]
values += [math.nextafter(v, random.choice((-math.inf, math.inf))) for v in values[:120]]
values += [2.0 ** e + i / 4 for e in (48, 49, 50, 51) for i in range(1, 12)]  # halfway between two decimals
values += [2.0 ** e for e in range(-12, 56)]
while len(values) < 800:
    v, = struct.unpack('<d', random.randbytes(8))
    if math.isfinite(v):
        values.append(v)
for v in filter(math.isfinite, values):
    print('%016x %r' % (struct.unpack('<Q', struct.pack('<d', v))[0], v))
